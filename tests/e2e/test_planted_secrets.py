"""Secrets planted in a campaign as an ordinary user with sudo: what leaves the controller is searched for them."""

import json
import shlex
import struct
import subprocess

import pytest
import tomlkit

from lab import box, photos
from lab.network import host_address
from lab.upstreams.faults import Fault
from roles.accounts import TRAINER, WEBUI
from roles.cache.rendering import TOKENS
from roles.managers import SYSTEMD
from roles.operations.application import build_tools
from roles.operations.environment import builder
from tests.e2e.conftest import Road
from tests.e2e.test_sudo_and_jump import USER, WELCOME

pytestmark = pytest.mark.lab

HUB, CIVITAI, LOGIN = "hf_5ecret0planted1hub", "civ_5ecret0planted2", "gate-5ecret0planted3"
TOKEN = "hf_5ecret0123456789canary"
OWN = "5ecret0planted4weights"
"""Stands in a model of the person's own, which on its way to the store is nobody else's to read."""
PLANTED = {"CANARY_HUB": HUB, "CANARY_CIVITAI": CIVITAI, "CANARY_LOGINS": f"anna:{LOGIN}"}
SECRETS = """
[secrets]
huggingface_token = { env = "CANARY_HUB" }
civitai_token = { env = "CANARY_CIVITAI" }
gateway_logins = { env = "CANARY_LOGINS" }
"""
MODEL = "/srv/sdfleet/data/webui/models/Stable-diffusion/tiny-sd15.safetensors"
TRAINING = """
name = "planted"
[model]
checkpoint = "tiny-sd15"
[data]
folder = "photos"
resolution = 64
[network]
rank = 4
alpha = 4
[train]
steps = 3
batch_size = 1
device = "cpu"
"""
WATCH = r"""
import os, sys, time
found = set()
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for folder, _, names in (seen for top in ("/tmp", "/var/tmp", "/dev/shm") for seen in os.walk(top)):
        for name in names:
            try:
                with open(f"{folder}/{name}", "rb") as file:
                    data = file.read(1 << 20)
            except OSError:
                continue
            for secret in sys.argv[2:]:
                if secret.encode() in data:
                    found.add(f"{folder}/{name}")
    if os.path.exists("/run/watch-over"):
        break
    time.sleep(0.005)
print(sorted(found))
"""
"""Runs on the host as nobody, and reads whatever lies where everybody can write. Secrets come cut, to be no hit."""


@pytest.fixture(scope="module")
def ordinary(road: Road) -> Road:
    """The first host, for an ordinary user: gateway, and a cache that holds tokens its mirrors are not trusted with."""
    road.on("h1", WELCOME)
    folder = road.folder / "planted"
    folder.mkdir(exist_ok=True)
    fleet = tomlkit.parse(road.file.read_text())
    fleet["fleet"] |= {"user": USER}
    for name in [name for name in fleet["hosts"] if name != "h1"]:
        del fleet["hosts"][name]
    fleet["models"].append({"name": "own", "kind": "vae", "source": "file:own.safetensors"})
    (folder / "own.safetensors").write_bytes(_weights())
    for file in road.folder.glob("*.lock*"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "fleet.toml").write_text(tomlkit.dumps(fleet))
    box.pin(road.lab, folder / "fleet.toml")
    fleet["hosts"]["h1"]["groups"] = [*fleet["hosts"]["h1"]["groups"], "gateway", "cache"]
    fleet["hosts"]["h1"]["internal"] = host_address(1)
    fleet["cache"] = {"hold_tokens": True, "size_gb": 1}
    (folder / "fleet.toml").write_text(tomlkit.dumps(fleet) + SECRETS)
    photos.write_training_set(folder / "photos", 64)
    (folder / "train.toml").write_text(TRAINING)
    return Road(road.lab, folder)


def _weights() -> bytes:
    """A safetensors file of 16 MB, which takes long enough to arrive that somebody can look."""
    head = json.dumps({"weight": {"dtype": "U8", "shape": [16 << 20], "data_offsets": [0, 16 << 20]}}).encode()
    return struct.pack("<Q", len(head)) + head + OWN.encode().ljust(16 << 20, b".")


def _watched(road: Road, seen: list[str], *arguments: str) -> None:
    """Run a verb while all processes are listed again and again."""
    done, listed = road.watched(*arguments, **PLANTED)
    seen += [*listed, done.text]
    print(f"  {' '.join(arguments)}: {done.code}")
    assert "Traceback" not in done.text, done.text
    fine = {"plan": (0, 3), "verify": (0, 3), "doctor": (0, 3), "lock": (0, 1)}  # from here no upstream is in reach
    assert done.code in fine.get(arguments[0], (0,)), done.text


CAMPAIGN = (
    *(("plan", "--diff"), ("verify",), ("status",), ("doctor",), ("releases",), ("logs", "h1"), ("models", "list")),
    *(("lock", "--verify"), ("train", "run", "train.toml", "--on", "h1", "--name", "planted"), ("train", "list")),
    *(("train", "report", "runs/planted"), ("train", "publish", "planted"), ("apply", "--diff")),
)


def test_no_planted_secret_is_seen_anywhere_in_a_campaign(ordinary: Road) -> None:
    seen: list[str] = []
    ordinary.on("h1", f"rm -f $(readlink -f {MODEL}) {MODEL} /run/watch-over")
    watcher = subprocess.Popen(
        ordinary.lab.ssh_command(
            "h1", f"setpriv --reuid 65534 --regid 65534 --clear-groups python3 - 900 {HUB[3:]} {LOGIN[5:]} {OWN[1:]}"
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
    for verb in CAMPAIGN:
        _watched(ordinary, seen, *verb)
    # A unit that changes is reason enough for an update: its gates and its way of telling are what counts here.
    fleet = tomlkit.parse(ordinary.file.read_text())
    fleet["webui"]["start_timeout"] += 1
    ordinary.file.write_text(tomlkit.dumps(fleet))
    _watched(ordinary, seen, "update", "--locked")
    ordinary.on("h1", "touch /run/watch-over")
    in_tmp, _ = watcher.communicate(timeout=60)
    assert in_tmp.strip() == "[]", f"anybody on the host could read {in_tmp}"
    kept = [file for file in ordinary.folder.rglob("*") if file.is_file() and file.name != "fleet.toml"]
    assert {"report.html", "run.json", "log.jsonl", "fleet.lock"} <= {file.name for file in kept}
    seen += [file.read_bytes().decode(errors="replace") for file in kept if file.name != "own.safetensors"]
    seen.append(ordinary.on("h1", "journalctl --no-pager --output=cat"))
    seen.append(ordinary.on("h1", "cat /var/log/auth.log /var/log/syslog 2>/dev/null; true"))
    for secret in (HUB, CIVITAI, LOGIN, OWN):
        hits = [text[max(0, text.index(secret) - 80) :][:200] for text in seen if secret in text]
        assert not hits, hits[:3]
    # On the hosts: root's alone, here the cache's tokens; nothing at all where no cache is.
    script = f"grep -rlF -e {HUB} -e {CIVITAI} -e {LOGIN} /etc /srv /var /root /home /tmp /run 2>/dev/null"
    held = ordinary.lab.ssh("h1", script).stdout.split()
    given = "/run/credentials/sdfleet-cache.service/tokens.conf"  # systemd's, for the cache's user alone
    assert sorted(held) == [str(TOKENS), given]
    assert ordinary.on("h1", f"stat -c '%a %U' {TOKENS}") == "600 root"
    for user in ("nobody", WEBUI, TRAINER):
        assert ordinary.lab.ssh("h1", f"setpriv --reuid {user} --clear-groups cat {given}").returncode != 0
    assert not ordinary.lab.ssh("h2", script).stdout


def test_a_secret_is_in_no_output_process_list_unit_lock_or_log(road: Road) -> None:
    """As root, on the host without a cache."""
    whole = road.file.read_text()
    secrets = '[secrets]\nhuggingface_token = { env = "CANARY" }\ncivitai_token = { env = "CANARY" }\n'
    road.file.write_text(f"{whole}\n{secrets}")
    road.on("h2", f"rm -f $(readlink -f {MODEL}) {MODEL}")
    switch = box.control(road.lab)
    switch.set_faults(Fault(kind="slow", server="cdn", rate=16 << 20))
    seen = []
    try:
        done, listed = road.watched("apply", "--limit", "h2", "--verbose", "--diff", CANARY=TOKEN)
        seen += [*listed, done.text]
        assert done.code == 0, done.text
        for verb in ("check", "plan", "verify", "status"):
            seen.append(road.sdfleet(verb, CANARY=TOKEN).text)
    finally:
        switch.set_faults()
        road.file.write_text(whole)
    seen += [file.read_text() for file in road.folder.glob("*.lock*")]
    seen.append(road.on("h2", "journalctl --no-pager --output=cat"))
    assert not any(TOKEN in text for text in seen)
    held = road.lab.ssh("h2", f"grep -rlF {TOKEN} /etc /srv /var /root /home /tmp /run 2>/dev/null").stdout.split()
    assert all(road.on("h2", f"stat -c '%a %U' {file}") == "600 root" for file in held), held


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
    words = [
        "python3",
        "-I",
        "/srv/sdfleet/tools/onhost.pyz",
        "build_wheels",
        "--lock",
        f"{folder}/lock.txt",
        "--index",
        "http://x",
    ]
    words += ["--tree", f"old-thing={folder}/src", "--into", f"{folder}/wheels", "--resolved", f"{folder}/resolved.txt"]
    words += ["--uv", "/srv/sdfleet/tools/uv/bin/uv", "--python", f"{folder}/tools/bin/python"]
    words += ["--sandbox", shlex.join(builder(SYSTEMD))]
    ordinary.on("h1", shlex.join(words))
    told = ordinary.on("h1", f"python3 -m zipfile -e {folder}/wheels/*.whl {folder}/out; cat {folder}/out/*/METADATA")
    ordinary.on("h1", f"rm -rf {folder}")
    assert "Summary: True refused refused refused" in told, told
