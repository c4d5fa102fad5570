"""What breaks in a rented container: of what breaks on any host, all that can; and what its kind alone has."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import tomlkit

from lab.containers import ROOT_SIZE
from tests.faults import breaking
from tests.faults.breaking import Break, Scene
from tests.light.fleet import LightFleet

SPARE_KB = 256
"""What a full system disk has left."""
KEYS = "/root/.ssh/authorized_keys"
SUPERVISORD = "/run/sdfleet-supervisor/supervisord.pid"
RUNNER = "[s]upervised sdfleet-webui.service"


@contextlib.contextmanager
def container_stopped(scene: Scene) -> Iterator[None]:
    """It is stopped on the provider's page, and started again after two seconds."""
    scene.light.lab.stop(scene.host)
    time.sleep(2)
    scene.light.lab.start(scene.host)
    yield


@contextlib.contextmanager
def supervisord_killed(scene: Scene) -> Iterator[None]:
    """By SIGKILL; afterwards boot.sh is run there, as errors say."""
    scene.light.lab.ssh(scene.host, f"kill -9 $(cat {SUPERVISORD})")
    yield
    scene.light.on(scene.host, f"{scene.light.root}/boot.sh")


@contextlib.contextmanager
def runner_killed(scene: Scene) -> Iterator[None]:
    """The parent of the WebUI, by SIGKILL."""
    scene.light.lab.ssh(scene.host, f"pkill -KILL -f '{RUNNER}'")
    yield


@contextlib.contextmanager
def system_disk_full(scene: Scene) -> Iterator[None]:
    """The root file system, with /run and /tmp, has a few kB left."""
    used = scene.light.on(scene.host, "df --output=used -k / | tail -n 1")
    _resize(scene, f"{int(used) + SPARE_KB}k")
    try:
        yield
    finally:
        _resize(scene, ROOT_SIZE)


def _resize(scene: Scene, size: str) -> None:
    lab = scene.light.lab
    disk = lab.folder.hosts / scene.host / "disk"
    inside = ["nsenter", f"--mount=/proc/{lab.pid}/ns/mnt"]
    subprocess.run([*inside, "mount", "-o", f"remount,size={size}", disk], check=True)


@contextlib.contextmanager
def release_altered(scene: Scene) -> Iterator[None]:
    """Somebody edits the code that serves; verify names it, and apply puts it right."""
    code = scene.light.on(scene.host, f"readlink -f {scene.light.root}/apps/webui/current/code")
    scene.light.on(scene.host, f"echo '# by hand' >>{code}/launch.py")
    yield
    git = f"git -c safe.directory='*' -C {code}"
    if not scene.light.lab.ssh(scene.host, f"{git} status --porcelain --untracked-files=no").stdout.strip():
        return
    if scene.light.on(scene.host, f"readlink -f {scene.light.root}/apps/webui/current/code") != code:
        scene.light.on(scene.host, f"{git} checkout --quiet -- .")
        return
    told = scene.light.sdfleet("verify", "--limit", scene.host)
    assert told.code == 3 and "was changed by hand" in told.text, f"verify does not tell of it: {told.text[-600:]}"
    done = scene.light.sdfleet("apply", "--limit", scene.host)
    assert done.code == 0, f"apply does not put it right: {done.text[-600:]}"


@contextlib.contextmanager
def host_key_changed(scene: Scene) -> Iterator[None]:
    """It has new host keys, as after a new container; they are accepted with the command that errors name."""
    make = "rm /etc/ssh/ssh_host_*; ssh-keygen -q -A; pkill -HUP -f '^sshd: /usr/sbin/sshd'"
    scene.light.lab.ssh(scene.host, f"{make}; pkill -KILL -f '^sshd: root@'")
    yield
    refused = scene.light.sdfleet("status", "--limit", scene.host)
    assert refused.code == 1 and "--replace-host-key" in refused.text, f"no cure is named: {refused.text[-600:]}"
    done = scene.light.sdfleet("trust", scene.host, "--replace-host-key")
    assert done.code == 0, f"trust fails: {done.text[-600:]}"


@contextlib.contextmanager
def login_refused(scene: Scene) -> Iterator[None]:
    """It no longer has the key, and the password at hand is wrong at first."""
    scene.light.lab.ssh(scene.host, f"rm {KEYS}; pkill -KILL -f '^sshd: root@'")
    yield
    refused = scene.light.sdfleet("status", "--limit", scene.host)
    assert refused.code == 1 and "sdfleet trust" in refused.text, f"no cure is named: {refused.text[-600:]}"
    with _other_password(scene.light, scene.host) as file:
        refused = scene.light.sdfleet("trust", scene.host, "--fleet", file)
    assert refused.code == 1 and "wrong password" in refused.text, f"it is not told: {refused.text[-600:]}"
    done = scene.light.sdfleet("trust", scene.host)
    assert done.code == 0, f"trust fails: {done.text[-600:]}"


@contextlib.contextmanager
def _other_password(light: LightFleet, host: str) -> Iterator[str]:
    """A fleet's file with a wrong password of the host."""
    with tempfile.TemporaryDirectory() as folder:
        wrong, file = Path(folder, "password"), light.folder / "wrong.toml"
        wrong.write_text("wrong\n")
        document = tomlkit.parse(light.file.read_text())
        document["hosts"][host]["password"] = {"file": str(wrong)}
        file.write_text(tomlkit.dumps(document))
        yield file.name
        file.unlink()


BREAKS: dict[str, Break] = {
    **breaking.BREAKS,
    "container stopped": container_stopped,
    "supervisord killed": supervisord_killed,
    "runner killed": runner_killed,
    "system disk full": system_disk_full,
    "release altered": release_altered,
    "host key changed": host_key_changed,
    "login refused": login_refused,
}

TAKES_THE_SERVICE = breaking.TAKES_THE_SERVICE | {
    *("container stopped", "supervisord killed", "runner killed", "system disk full")
}
"""Faults that end the service themselves, or keep it from starting."""
