"""sdfleet's programs on hosts: one archive, which an update replaces under programs that run."""

import ast
import base64
import json
import os
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from roles import programs
from roles.facts.seen import Entry, HostSurvey
from roles.gateway import certificates
from roles.gateway.config import Gateway
from roles.gateway.rendering import unit_text as gateway_unit
from roles.managers import SYSTEMD
from roles.onhost import own_archive
from roles.operations.programs import own_programs, remove_old_programs
from roles.paths import UNITS, Paths
from roles.webui import service, takeover
from roles.webui.config import Webui
from roles.webui.release import release_of
from tests import onhost
from tests.roles.declared import declared

TREE = Path(__file__).resolve().parents[2]
PATHS = Paths()
SENT = [f"deploy.onhost.{file.stem}" for file in sorted((TREE / "deploy/onhost").glob("[!_]*.py"))]
INSTALLED = [f"roles.onhost.{file.stem}" for file in sorted((TREE / "roles/onhost").glob("[!_]*.py"))]


def test_the_archive_is_the_same_bytes_in_every_process() -> None:
    told = "import hashlib; from roles import programs; print(hashlib.sha256(programs.installed()).hexdigest())"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Shanghai"}
    other = subprocess.run([sys.executable, "-c", told], cwd=TREE, env=environment, capture_output=True, text=True)
    assert other.stdout.strip() == programs.sha256()
    assert programs.version() == f"onhost-{programs.sha256()[:16]}.pyz"


def test_programs_for_several_hosts_are_packed_at_the_same_time() -> None:
    """Python before 3.11.8 fails if a thread parses while another does: its parser counts for all threads together."""
    together = """
import gc, threading, time
from roles import programs
gc.set_threshold(50)
gc.callbacks.append(lambda *_: time.sleep(0))  # lets other threads run in the middle of a parse
failed = []
threading.excepthook = lambda thrown: failed.append(thrown.exc_value)
for _ in range(3):
    programs._imported.cache_clear()
    threads = [threading.Thread(target=programs.sent, args=("activate",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(failed)
"""
    done = subprocess.run([sys.executable, "-c", together], cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_program_is_in_it() -> None:
    names = zipfile.ZipFile(BytesIO(programs.installed())).namelist()
    assert {f"{name.replace('.', '/')}.py" for name in INSTALLED} <= set(names)
    assert not [name for name in names if name.startswith(("deploy", "tests"))]


@pytest.mark.parametrize("module", [*SENT, *INSTALLED])
def test_programs_import_the_standard_library_and_one_another_at_the_top(module: str) -> None:
    text = TREE.joinpath(*module.split(".")).with_suffix(".py").read_text()
    tree = ast.parse(text, feature_version=(3, 9))
    top = {id(node) for node in tree.body}
    allowed = {"torch", "PIL"}  # of the environments in which webui_png and convert_pickle run
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            for name in names:
                first = name.partition(".")[0]
                ours = name.startswith(programs.OURS)
                assert ours or first in sys.stdlib_module_names | allowed, f"{module} imports {name}"
                assert not ours or id(node) in top, f"{module} imports {name} late: the archive may be gone by then"


def test_what_is_sent_holds_all_that_it_imports() -> None:
    for module in SENT:
        names = zipfile.ZipFile(BytesIO(base64.b64decode(programs.called(module, "{}")))).namelist()
        assert f"{module.replace('.', '/')}.py" in names
        assert all(f"{name.replace('.', '/')}.py" in names for name in programs.closure(module))


def test_a_program_that_is_sent_runs_and_so_does_what_it_starts(tmp_path: Path) -> None:
    header = json.dumps({"unet.a.lora_A.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora/a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    done = onhost.send("lora_keys", tmp_path / "lora", tmp_path / "store")
    assert "ignores it silently" in json.loads(done.stdout)[str(tmp_path / "lora/a.safetensors")], done.stderr
    installed = onhost.words("lora_keys", tmp_path / "lora", tmp_path / "store")
    assert subprocess.run(installed, capture_output=True, text=True, check=True).stdout == done.stdout


def test_a_child_that_inherits_what_was_sent_cannot_change_what_root_runs_next() -> None:
    """Readers of strange files inherit the archive as nobody; the next one is imported from it as root."""
    main = (
        "import fcntl, os, sys\n"
        "here = int(sys.path[0].rpartition('/')[2])\n"
        "print(fcntl.fcntl(here, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY, oct(os.fstat(here).st_mode & 0o777))\n"
        "print(sorted(os.readlink(f'/proc/self/fd/{fd}') == os.readlink(f'/proc/self/fd/{here}')"
        " for fd in map(int, os.listdir('/proc/self/fd')) if fd != here and os.path.lexists(f'/proc/self/fd/{fd}')))\n"
    )
    text = base64.b64encode(programs.zipped({"__main__.py": main}))
    for receive in (
        programs.receiver(),
        [word.replace("'memfd_create')", "'no such')") for word in programs.receiver()],
    ):
        done = subprocess.run(receive, input=text, capture_output=True, check=True)
        mode, others = done.stdout.decode().splitlines()
        assert mode == "True 0o444"
        assert "True" not in others, "another descriptor may still write to it"


def test_a_service_that_outlives_two_updates_starts_its_children_from_the_archive_of_today(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_archive, "TREE", "/srv/sdfleet/tools/onhost-0123456789abcdef.pyz")
    assert own_archive.words("roles.onhost.webui_png")[2] == "/srv/sdfleet/tools/onhost.pyz"


def test_an_update_breaks_no_program_that_starts_or_runs(tmp_path: Path) -> None:
    """The link leads to another archive, and the old one goes, while the program waits in its first lines."""
    slow = "import sys\nsys.stdin.readline()\n"
    files = {"roles/__init__.py": "", "roles/onhost/__init__.py": "", "roles/onhost/late.py": "WORD = 'old'\n"}
    files["roles/onhost/slow.py"] = f"{slow}from roles.onhost import late\n\ndef main():\n    print(late.WORD)\n"
    main = (TREE / "roles/onhost/__main__.py").read_text()
    link = tmp_path / "onhost.pyz"
    (tmp_path / "one").write_bytes(programs.zipped({"__main__.py": main, **files}))
    link.symlink_to("one")
    with subprocess.Popen(
        [sys.executable, "-I", str(link), "slow"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdin and started.stdout
        deadline = time.monotonic() + 60
        while not _reads(started.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        files["roles/onhost/late.py"] = "# another length\nWORD = 'new'\n"
        (tmp_path / "two").write_bytes(programs.zipped({"__main__.py": main, **files}))
        (tmp_path / "new").symlink_to("two")
        (tmp_path / "new").rename(link)
        started.stdin.write("\n")
        started.stdin.close()
        assert started.stdout.read() == "old\n"
    assert started.returncode == 0
    again = subprocess.run([sys.executable, "-I", str(link), "slow"], input="\n", capture_output=True, text=True)
    assert again.stdout == "new\n"


def _reads(pid: int) -> bool:
    """Whether a program waits for its standard input."""
    return Path(f"/proc/{pid}/syscall").read_text().startswith("0 0x0 ")


CHANGES = {
    # what changes -> whether the WebUI and the gateway restart for it
    "roles.onhost.webui_service": (True, False),
    "roles.onhost.drawing_service": (True, False),
    "roles.onhost.served_process": (True, False),
    "roles.onhost.port_gate": (True, False),
    "roles.onhost.comfyui_picture": (False, False),
    "roles.onhost.webui_png": (True, False),
    "roles.onhost.loopback": (True, False),
    "roles.onhost.systemd": (True, True),
    "roles.onhost.login_server": (False, True),
    "roles.onhost.login_guesses": (False, True),
    "roles.onhost.training_turn": (False, False),
    "roles.onhost.activate": (False, False),
    "roles.onhost.pinned_checkout": (False, False),
}


@pytest.mark.parametrize("module", CHANGES)
def test_a_service_restarts_only_for_what_it_runs(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    webui = Webui()
    release = release_of(webui, "cpu")

    def units() -> tuple[str, str]:
        return service.unit_text(webui, PATHS, release, "cpu", SYSTEMD), gateway_unit(
            Gateway(), "203.0.113.1", PATHS, SYSTEMD
        )

    before, read = units(), programs._text
    monkeypatch.setattr(programs, "_text", lambda name: read(name) + ("# changed\n" if name == module else ""))
    assert tuple(one != two for one, two in zip(before, units(), strict=True)) == CHANGES[module]


def _put(seen: HostSurvey) -> list[str]:
    def declare() -> None:
        own_programs(name="put", paths=PATHS, seen=seen)

    return declared(declare)["put"]


def test_it_is_put_once_and_the_one_before_stays() -> None:
    link = str(PATHS.onhost)
    put, led = _put(HostSurvey({link: Entry("l", "root", "root", 0o777, "onhost-before.pyz")}, digests={link: "x"}))
    assert f"{PATHS.tools}/{programs.version()}.sdfleet-new" in put
    assert "onhost-before.pyz" in led and f"mv -fT {PATHS.tools}/.onhost.pyz.new {link}" in led
    there = HostSurvey({link: Entry("l", "root", "root", 0o777, programs.version())}, digests={link: programs.sha256()})
    assert _put(there) == []
    there.digests[link] = "damaged"
    assert len(_put(there)) == 2


def test_programs_of_an_older_sdfleet_go() -> None:
    seen = HostSurvey(names={str(PATHS.old_programs): ["activate.py", "webui_service.py"]})
    [[command]] = declared(lambda: remove_old_programs(["activate", "prune"], PATHS, seen)).values()
    assert command.startswith("rm -f /srv/sdfleet/tools/bin/activate.py && rmdir")
    assert declared(lambda: remove_old_programs(["prune"], PATHS, seen)) == {}


def test_programs_that_a_rollback_would_start_stay() -> None:
    old = "ExecStart=/x/python /srv/sdfleet/tools/bin/webui_service.py --port 7860\n"
    unit, history = str(UNITS / service.UNIT), str(PATHS.history("webui"))
    for texts in ({unit: old}, {history: json.dumps({"served": [{"text": old}]})}):
        assert takeover.old_programs(PATHS, HostSurvey(texts=texts)) == ()
    assert "webui_service" in takeover.old_programs(PATHS, HostSurvey(texts={unit: "ExecStart=/x/python\n"}))


def test_certbot_calls_the_program_of_today(tmp_path: Path) -> None:
    gateway = Gateway(tls="acme", domain="sd.example.org", acme_email="ops@example.org")
    old = "renew_hook = python3 /srv/sdfleet/tools/bin/gateway_certificate.py --folder /etc/sdfleet/gateway\n"
    file = str(certificates.renewal(gateway))
    [command] = certificates.new_hook(gateway, PATHS, HostSurvey(texts={file: old}))
    kept = tmp_path / "sd.example.org.conf"
    kept.write_text(old)
    subprocess.run(["sh", "-c", command.replace(file, str(kept))], check=True)
    words = "python3 -I /srv/sdfleet/tools/onhost.pyz gateway_certificate --folder /etc/sdfleet/gateway"
    assert kept.read_text() == f"renew_hook = {words}\n"
    assert certificates.new_hook(gateway, PATHS, HostSurvey(texts={file: kept.read_text()})) == []


def test_a_python_without_memory_files_receives_programs_too(tmp_path: Path) -> None:
    """The converter runs in an environment whose Python uv may have brought."""
    command, text = programs.receiver("[]", python=sys.executable), programs.sent("make_folders")
    command[3] = f"import os; del os.memfd_create; {command[3]}"
    assert subprocess.run(command, input=text, capture_output=True, text=True, check=False).stderr == ""
    command[-1] = "[{}]"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "'owner'\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_can_run_what_was_sent(tmp_path: Path) -> None:
    """As a gate has a picture converted by the WebUI's user."""
    told = "from roles.onhost import own_archive; import subprocess, sys; "
    told += "c = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '/usr/bin/python3', '-I']; "
    told += (
        "c += ['-c', 'import sys; sys.path.insert(0, sys.argv[1]); import roles.onhost.journal as j; print(j.WORDS)']; "
    )
    told += "run = {'pass_fds': own_archive.descriptors(), 'capture_output': True, 'text': True}; "
    told += "print(subprocess.run([*c, own_archive.TREE], **run))"
    text = programs._packed(told, "roles.onhost.own_archive", "roles.onhost.journal")
    done = subprocess.run(programs.receiver(), input=text, capture_output=True, text=True, check=False)
    assert "stdout='4" in done.stdout, done.stdout + done.stderr


def test_every_program_starts_from_the_archive() -> None:
    names = [name for name in INSTALLED if not name.endswith(".convert_pickle")]  # which needs torch
    told = f"import sys; sys.path.insert(0, {str(onhost.archive())!r}); from importlib import import_module; "
    told += f"print([name for name in {names} if not import_module(name).__file__.startswith(sys.path[0])])"
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", told], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
    for name in ("activate", "gateway_login", "webui_service", "prune", "pinned_checkout", "build_wheels"):
        helped = subprocess.run(onhost.words(name, "--help"), capture_output=True, text=True, check=False)
        assert helped.returncode == 0 and "usage: " in helped.stdout, helped.stderr
