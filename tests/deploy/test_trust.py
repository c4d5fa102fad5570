"""From a password to a key, on a host that takes passwords."""

import shlex
from pathlib import Path

import pytest

from deploy import trust
from deploy.connection.several import connect
from deploy.connection.ssh import HostError
from inventory.load import load
from inventory.model import HostSettings
from lab import Lab

pytestmark = pytest.mark.lab

PASSWORD = "an odd pass'word $HOME"
OPEN = "echo 'PermitRootLogin yes' >/etc/ssh/sshd_config.d/test.conf && systemctl reload ssh"


@pytest.fixture
def host(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostSettings:
    """h1 for somebody who has its address and password, and no key."""
    lab.ssh("h1", f"echo {shlex.quote(f'root:{PASSWORD}')} | chpasswd && {OPEN} && cp -n ~/.ssh/authorized_keys /tmp/")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GPU_PASSWORD", PASSWORD)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    port = next(each.port for each in lab.hosts if each.name == "h1")
    file = tmp_path / "fleet.toml"
    file.write_text(
        f'[fleet]\nname = "a"\nknown_hosts = "known"\nkey = "{tmp_path}/.ssh/id_ed25519"\n'
        f'[hosts.h1]\naddress = "ssh -p {port} root@127.0.0.1"\npassword = {{ env = "GPU_PASSWORD" }}\n'
    )
    trust.public_key(load(file).hosts["h1"].connection.model_copy(update={"key": None}))
    return load(file).hosts["h1"]


def test_a_password_is_used_once_and_a_key_opens_afterwards(
    host: HostSettings, lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trust.run(host, replace_host_key=False)
    monkeypatch.delenv("GPU_PASSWORD")
    with connect([host]) as remotes:
        assert remotes["h1"].run(["whoami"]).out == "root\n"
    trust.run(host, replace_host_key=False)
    shown = capfd.readouterr().out
    assert "Its password is no longer needed." in shown and "already accepts a key of yours" in shown
    assert PASSWORD not in shown
    assert lab.ssh("h1", "sort ~/.ssh/authorized_keys | uniq -d").stdout == "", "a key was added twice"
    assert lab.ssh("h1", "cat ~/.ssh/authorized_keys").stdout.startswith(
        lab.ssh("h1", "cat /tmp/authorized_keys").stdout
    )


def test_a_wrong_password_and_a_changed_host_key_are_told_apart(
    host: HostSettings, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.ssh("h1", "cp /tmp/authorized_keys ~/.ssh/")
    monkeypatch.setenv("GPU_PASSWORD", "wrong")
    with pytest.raises(HostError, match="wrong password, or the host does not allow passwords"):
        trust.run(host, replace_host_key=False)
    known = host.connection.known_hosts
    assert known is not None
    other = lab.known_hosts.read_text().splitlines()
    place = f"[127.0.0.1]:{host.connection.port}"
    wrong = next(line.split(" ", 1)[1] for line in other if place not in line)
    known.write_text(f"{place} {wrong}\n")
    monkeypatch.setenv("GPU_PASSWORD", PASSWORD)
    with pytest.raises(HostError, match="run: sdfleet trust h1 --replace-host-key"):
        trust.run(host, replace_host_key=False)
    trust.run(host, replace_host_key=True)
    with connect([host]) as remotes:
        assert remotes["h1"].run(["whoami"]).out == "root\n"
