"""Secrets planted in a campaign as an ordinary user with sudo: what leaves the controller is searched for them."""

import shlex
import subprocess
import time

import pytest
import tomlkit

from lab import box
from lab.upstreams.faults import Fault
from roles.operations.application import build_tools
from roles.operations.sandbox import sandboxed
from tests.road.conftest import Road
from tests.road.test_sudo_and_jump import USER, WELCOME

pytestmark = pytest.mark.lab

HUB, CIVITAI, LOGIN = "hf_5ecret0planted1hub", "civ_5ecret0planted2", "gate-5ecret0planted3"
PLANTED = {"CANARY_HUB": HUB, "CANARY_CIVITAI": CIVITAI, "CANARY_LOGINS": f"anna:{LOGIN}"}
SECRETS = """
[secrets]
huggingface_token = { env = "CANARY_HUB" }
civitai_token = { env = "CANARY_CIVITAI" }
gateway_logins = { env = "CANARY_LOGINS" }
"""
MODEL = "/srv/sdfleet/data/webui/models/Stable-diffusion/tiny-sd15.safetensors"
WATCH = r"""
import os, sys, time
found = set()
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for name in os.listdir("/tmp"):
        try:
            with open(f"/tmp/{name}", "rb") as file:
                data = file.read(1 << 20)
        except OSError:
            continue
        for secret in sys.argv[2:]:
            if secret.encode() in data:
                found.add(name)
    if os.path.exists("/run/watch-over"):
        break
    time.sleep(0.005)
print(sorted(found))
"""
"""Runs on the host as nobody: reads whatever is in /tmp, as fast as it can. Secrets come cut, so as to be no hit."""


@pytest.fixture(scope="module")
def ordinary(road: Road) -> Road:
    """The first host, for an ordinary user, with tokens and a gateway whose mirrors are not trusted with them."""
    road.on("h1", WELCOME)
    folder = road.folder / "planted"
    folder.mkdir(exist_ok=True)
    fleet = tomlkit.parse(road.file.read_text())
    fleet["fleet"] |= {"user": USER}
    for name in [name for name in fleet["hosts"] if name != "h1"]:
        del fleet["hosts"][name]
    fleet["hosts"]["h1"].setdefault("groups", []).append("gateway")
    (folder / "fleet.toml").write_text(tomlkit.dumps(fleet) + SECRETS)
    for file in road.folder.glob("*.lock*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return Road(road.lab, folder)


def _commands() -> str:
    """Every process of this machine, with its arguments; the hosts' processes are among them."""
    return subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout


def _watched(road: Road, seen: list[str], *arguments: str) -> None:
    """Run a verb while all processes are listed again and again."""
    process = road.start(*arguments, **PLANTED)
    while process.poll() is None:
        seen.append(_commands())
        time.sleep(0.1)
    assert process.stdout is not None
    seen.append(process.stdout.read())
    assert "Traceback" not in seen[-1], seen[-1]
    if arguments[0] in ("plan", "apply"):
        assert process.returncode in (0, 3), seen[-1]


def test_no_planted_secret_is_seen_anywhere_in_a_campaign(ordinary: Road) -> None:
    seen: list[str] = []
    ordinary.on("h1", f"rm -f $(readlink -f {MODEL}) {MODEL} /run/watch-over")
    watcher = subprocess.Popen(
        ordinary.lab.ssh_command(
            "h1", f"setpriv --reuid 65534 --regid 65534 --clear-groups python3 - 600 {HUB[3:]} {LOGIN[5:]}"
        ),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watcher.stdin is not None
    watcher.stdin.write(WATCH)
    watcher.stdin.close()
    watcher.stdin = None
    switch = box.control(ordinary.lab)
    switch.set_faults(Fault(kind="slow", server="cdn", rate=16 << 20))
    try:
        _watched(ordinary, seen, "plan", "--diff", "--verbose")
        _watched(ordinary, seen, "apply", "--diff", "--verbose")
    finally:
        switch.set_faults()
    for verb in (
        ("plan", "--diff"), ("verify",), ("status",), ("doctor",), ("releases",), ("logs", "h1"), ("models", "list"),
        ("train", "list"), ("lock", "--verify"),
    ):  # fmt: skip
        _watched(ordinary, seen, *verb)
    ordinary.on("h1", "touch /run/watch-over")
    in_tmp, _ = watcher.communicate(timeout=60)
    assert in_tmp.strip() == "[]", f"anybody on the host could read {in_tmp}"
    seen += [file.read_text(errors="replace") for file in ordinary.folder.iterdir() if file.name != "fleet.toml"]
    seen.append(ordinary.on("h1", "journalctl --no-pager --output=cat"))
    seen.append(ordinary.on("h1", "cat /var/log/auth.log /var/log/syslog 2>/dev/null; true"))
    for secret in (HUB, CIVITAI, LOGIN):
        hits = [text[max(0, text.index(secret) - 80) :][:200] for text in seen if secret in text]
        assert not hits, hits[:3]
    script = f"grep -rlF -e {HUB} -e {CIVITAI} -e {LOGIN} /etc /srv /var /root /home /tmp /run 2>/dev/null"
    held = ordinary.lab.ssh("h1", script).stdout.split()
    assert all(ordinary.on("h1", f"stat -c '%a %U' {file}") == "600 root" for file in held), held


def test_what_has_no_wheel_is_built_as_nobody_without_a_network(ordinary: Road) -> None:
    setup = (
        "import os, socket; from setuptools import setup\n"
        "def tried(what):\n"
        "    try: what()\n"
        "    except OSError: return 'refused'\n"
        "    return 'done'\n"
        "told = [str(os.getuid() != 0), tried(lambda: socket.create_connection(('127.0.0.1', 22), 2)),\n"
        "        tried(lambda: open('/srv/sdfleet/store/x', 'w')), tried(lambda: os.listdir('/etc/sdfleet'))]\n"
        "setup(name='old-thing', version='1.0', py_modules=[], description=' '.join(told))\n"
    )
    folder = "/srv/sdfleet/envs/build-test"
    ordinary.on("h1", f"rm -rf {folder}; mkdir -p {folder}/src")
    for name, text in {"src/setup.py": setup, "tools.txt": build_tools(), "lock.txt": ""}.items():
        ordinary.on("h1", f"cat >{folder}/{name} <<'SDFLEET_END'\n{text}\nSDFLEET_END")
    uv = "set -a; . /etc/sdfleet/mirrors.env; set +a; /srv/sdfleet/tools/uv/bin/uv"
    ordinary.on("h1", f"{uv} venv -q --no-config {folder}/tools")
    sync = "pip sync -q --no-config --no-build --require-hashes"
    ordinary.on("h1", f"{uv} {sync} --python {folder}/tools/bin/python {folder}/tools.txt")
    words = ["python3", "/srv/sdfleet/tools/bin/build_wheels.py", "--lock", f"{folder}/lock.txt", "--index", "http://x"]
    words += ["--tree", f"old-thing={folder}/src", "--into", f"{folder}/wheels", "--resolved", f"{folder}/resolved.txt"]
    words += ["--uv", "/srv/sdfleet/tools/uv/bin/uv", "--python", f"{folder}/tools/bin/python"]
    words += ["--sandbox", shlex.join(sandboxed(300, "Environment=HOME=/tmp"))]
    ordinary.on("h1", shlex.join(words))
    told = ordinary.on("h1", f"python3 -m zipfile -e {folder}/wheels/*.whl {folder}/out; cat {folder}/out/*/METADATA")
    ordinary.on("h1", f"rm -rf {folder}")
    assert "Summary: True refused refused refused" in told, told
