"""The line that a person needs, of what real programs print when they fail (uv 0.13, pip 26, git, apt, nginx, ...)."""

import pytest

from roles.onhost.journal import CONCLUSION, KINDS, errors, reason

UV_HASH = """\
error: Failed to download `six==1.17.0`
  cause: Hash mismatch for `six==1.17.0`

         Expected:
           sha256:0000000000000000000000000000000000000000000000000000000000000000

         Computed:
           sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274
"""
UV_REFUSED = """\
Using Python 3.11.7 environment at: v
error: Request failed after 3 retries in 4.9s
  cause: Failed to fetch: http://127.0.0.1:9/simple/six/
  cause: error sending request for url (http://127.0.0.1:9/simple/six/)
  cause: client error (Connect)
  cause: tcp connect error
  cause: Connection refused (os error 111)
"""
UV_NO_VERSION = """\
Using Python 3.11.7 environment at: v
error: No solution found when resolving dependencies
  cause: Because there is no version of six==99.1 and you require six==99.1, we can conclude that
         your requirements are unsatisfiable.
"""
UV_BUILD = """\
error: The build backend returned an error
  cause: Call to `setuptools.build_meta:__legacy__.prepare_metadata_for_build_wheel` failed (exit
         status: 1)

         [stderr]
         Traceback (most recent call last):
           File "<string>", line 8, in <module>
         ModuleNotFoundError: No module named 'pkg_resources'
"""
PIP_NO_VERSION = """\
Looking in indexes: http://127.0.0.1:9/simple
ERROR: Could not find a version that satisfies the requirement torch==2.1.2 (from versions: 2.2.0, 2.2.1)
ERROR: No matching distribution found for torch==2.1.2
"""
PIP_DISK = """\
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device

[notice] A new release of pip is available: 23.0.1 -> 26.0
[notice] To update, run: pip install --upgrade pip
"""
GCC = """\
      building 'insightface.thirdparty.face3d' extension
      mesh_core_cython.cpp:36:10: fatal error: Python.h: No such file or directory
         36 | #include "Python.h"
            |          ^~~~~~~~~~
      compilation terminated.
      error: command '/usr/bin/x86_64-linux-gnu-gcc' failed with exit code 1
"""
GIT_CUT = """\
Cloning into '/srv/sdfleet/apps/webui/releases/.v1.10.1.building/code'...
error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly: CANCEL (err 8)
error: 2371 bytes of body are still expected
fetch-pack: unexpected disconnect while reading sideband packet
fatal: early EOF
fatal: fetch-pack: invalid index-pack output
"""
GIT_SUBMODULE = """\
Cloning into '/srv/x/frontend'...
fatal: unable to access 'https://github.com/x/frontend/': Could not resolve host: github.com
fatal: clone of 'https://github.com/x/frontend' into submodule path '/srv/x/frontend' failed
Failed to clone 'frontend'. Retry scheduled
"""
GIT_SSH = """\
git@github.com: Permission denied (publickey).
fatal: Could not read from remote repository.

Please make sure you have the correct access rights
and the repository exists.
"""
APT_UNKNOWN = """\
Reading package lists...
Building dependency tree...
Reading state information...
E: Unable to locate package no-such-package-xyz
"""
APT_GONE = """\
Err:1 http://deb.debian.org/debian bookworm/main amd64 libgl1 amd64 1.6.0-1
  404  Not Found [IP: 151.101.2.132 80]
E: Failed to fetch http://deb.debian.org/debian/pool/main/libg/libglvnd/libgl1_1.6.0-1_amd64.deb  404  Not Found
E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?
"""
APT_HELD = """\
E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1234 (unattended-upgr)
N: Be aware that removing the lock file is not a solution and may break your system.
E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?
"""
DPKG = """\
Setting up nginx (1.22.1-9) ...
Job for nginx.service failed because the control process exited with error code.
dpkg: error processing package nginx (--configure):
 installed nginx package post-installation script subprocess returned error exit status 1
Errors were encountered while processing:
 nginx
E: Sub-process /usr/bin/dpkg returned an error code (1)
"""
DKMS = """\
Building for 6.1.0-18-amd64
Error! Bad return status for module build on kernel: 6.1.0-18-amd64 (x86_64)
Consult /var/lib/dkms/nvidia-current/535.183.01/build/make.log for more information.
dpkg: error processing package nvidia-kernel-dkms (--configure):
 installed nvidia-kernel-dkms package post-installation script subprocess returned error exit status 10
Errors were encountered while processing:
 nvidia-kernel-dkms
E: Sub-process /usr/bin/dpkg returned an error code (1)
"""
NGINX_TEST = """\
nginx: [emerg] unknown directive "proxy_pas" in /etc/sdfleet/gateway/current/nginx.conf:2
nginx: configuration file /etc/sdfleet/gateway/current/nginx.conf test failed
"""
NGINX_PORT = """\
nginx: [emerg] bind() to 0.0.0.0:443 failed (98: Address already in use)
nginx: [emerg] bind() to 0.0.0.0:443 failed (98: Address already in use)
nginx: [emerg] still could not bind()
"""
CERTBOT = """\
Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: sd.example.org
  Type:   unauthorized
  Detail: 203.0.113.1: Invalid response from http://sd.example.org/.well-known/acme-challenge/xyz: 404

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile for more details.
"""
DESTRUCTOR = """\
Traceback (most recent call last):
  File "/srv/x/train.py", line 7, in <module>
    main()
ValueError: the model has no text encoder
Exception ignored in: <function Pool.__del__ at 0x7f22>
Traceback (most recent call last):
  File "/usr/lib/python3.11/multiprocessing/pool.py", line 268, in __del__
    self._change_notifier.put(None)
AttributeError: 'NoneType' object has no attribute 'put'
"""
BROKEN_PIPE = """\
Exception ignored in: <_io.TextIOWrapper name='<stdout>' mode='w' encoding='utf-8'>
OSError: [Errno 9] Bad file descriptor
Traceback (most recent call last):
  File "/srv/x/train.py", line 7, in <module>
    main()
ValueError: the model has no text encoder
"""
ELASTIC = """\
[rank0]: Traceback (most recent call last):
[rank0]:   File "/srv/x/train.py", line 7, in <module>
[rank0]:     main()
[rank0]: ValueError: the model has no text encoder
Traceback (most recent call last):
  File "/srv/x/bin/torchrun", line 8, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
"""
CASES = {
    "uv: hash": (UV_HASH, "error: Failed to download `six==1.17.0`: Hash mismatch for `six==1.17.0`"),
    "uv: no connection": (
        UV_REFUSED,
        "error: Request failed after 3 retries in 4.9s: Failed to fetch: http://127.0.0.1:9/simple/six/: "
        "Connection refused (os error 111)",
    ),
    "uv: no such version": (
        UV_NO_VERSION,
        "error: No solution found when resolving dependencies: Because there is no version of six==99.1 and you "
        "require six==99.1, we can conclude that your requirements are unsatisfiable.",
    ),
    "uv: build": (UV_BUILD, "ModuleNotFoundError: No module named 'pkg_resources'"),
    "pip: no such version": (PIP_NO_VERSION, "ERROR: No matching distribution found for torch==2.1.2"),
    "pip: disk": (
        PIP_DISK,
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    ),
    "gcc": (GCC, "mesh_core_cython.cpp:36:10: fatal error: Python.h: No such file or directory"),
    "git: cut": (GIT_CUT, "error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly: CANCEL (err 8)"),
    "git: submodule": (
        GIT_SUBMODULE,
        "fatal: unable to access 'https://github.com/x/frontend/': Could not resolve host: github.com",
    ),
    "git: no key": (GIT_SSH, "git@github.com: Permission denied (publickey)."),
    "apt: unknown": (APT_UNKNOWN, "E: Unable to locate package no-such-package-xyz"),
    "apt: gone": (
        APT_GONE,
        "E: Failed to fetch http://deb.debian.org/debian/pool/main/libg/libglvnd/libgl1_1.6.0-1_amd64.deb  404  "
        "Not Found",
    ),
    "apt: held": (
        APT_HELD,
        "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1234 (unattended-upgr)",
    ),
    "dpkg": (
        DPKG,
        "dpkg: error processing package nginx (--configure): installed nginx package post-installation script "
        "subprocess returned error exit status 1",
    ),
    "DKMS": (DKMS, "Error! Bad return status for module build on kernel: 6.1.0-18-amd64 (x86_64)"),
    "nginx: test": (
        NGINX_TEST,
        'nginx: [emerg] unknown directive "proxy_pas" in /etc/sdfleet/gateway/current/nginx.conf:2',
    ),
    "nginx: port": (NGINX_PORT, "nginx: [emerg] bind() to 0.0.0.0:443 failed (98: Address already in use)"),
    "certbot": (
        CERTBOT,
        "Detail: 203.0.113.1: Invalid response from http://sd.example.org/.well-known/acme-challenge/xyz: 404",
    ),
    "a destructor after the exception": (DESTRUCTOR, "ValueError: the model has no text encoder"),
    "an ignored exception without a traceback": (BROKEN_PIPE, "ValueError: the model has no text encoder"),
    "torchrun": (ELASTIC, "ValueError: the model has no text encoder"),
    "curl": (
        "curl: (7) Failed to connect to 127.0.0.1 port 9 after 0 ms: Couldn't connect to server\n",
        "curl: (7) Failed to connect to 127.0.0.1 port 9 after 0 ms: Couldn't connect to server",
    ),
    "what sdfleet concludes": (
        f"{APT_HELD}\n{CONCLUSION}apt cannot install these packages of driver 580; on hold are: dkms\nother words\n",
        "apt cannot install these packages of driver 580; on hold are: dkms",
    ),
    "a shell": ("sh: 1: nvidia-smi: not found\n", "sh: 1: nvidia-smi: not found"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_reason_is_the_line_that_a_person_needs(case: str) -> None:
    text, why = CASES[case]
    assert reason(text.splitlines()) == why


def test_a_line_that_follows_is_the_reason_if_it_is_alone() -> None:
    assert reason(["fatal: early EOF"]) == "fatal: early EOF"


@pytest.mark.parametrize("case", ["apt: unknown", "nginx: port", "git: cut"])
def test_lines_of_other_programs_are_no_errors_of_the_webui(case: str) -> None:
    """The journal gate compares errors of the WebUI; a line with another beginning would be news to it."""
    assert all(kind in KINDS for kind, _ in errors(CASES[case][0].splitlines()))
