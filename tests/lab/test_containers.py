"""Containers of the lab behave like rented ones."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import lab as lab_package
from lab import Lab, fleet
from lab.access import LOOPBACK
from lab.providers import PROVIDERS
from lab.state import Rented
from tests.lab.test_lifecycle import record, traces

pytestmark = pytest.mark.lab

AUTODL, RUNPOD, VAST = "c1", "c2", "c3"
KINDS = (Rented(provider="autodl"), Rented(provider="runpod"), Rented(provider="vast", sftp=False))
EACH = pytest.mark.parametrize("name", [AUTODL, RUNPOD, VAST])


@pytest.fixture(scope="module")
def rented() -> Iterator[Lab]:
    """One container of each provider, and no host with systemd."""
    with lab_package.attached(hosts=0, containers=KINDS) as running:
        yield running


def said(lab: Lab, name: str, command: str) -> str:
    """What a command that must succeed prints in the container."""
    done = lab.ssh(name, command)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def disk(name: str) -> str:
    """Where the container's data disk is mounted."""
    return str(PROVIDERS[KINDS[int(name[1:]) - 1].provider].disk)


def host_key(lab: Lab, name: str) -> str:
    """The ed25519 host key that anybody is shown."""
    port = str(lab.host(name).port)
    shown = subprocess.run(
        ["ssh-keyscan", "-T5", "-t", "ed25519", "-p", port, LOOPBACK], capture_output=True, text=True
    )
    return shown.stdout.split()[-1]


@EACH
def test_the_way_in_is_roots_password_on_an_odd_port(rented: Lab, name: str) -> None:
    assert said(rented, name, "whoami; ls -A ~/.ssh 2>/dev/null | wc -l").split() == ["root", "0"]
    host, file = rented.host(name), rented.folder.password(name)
    assert host.port > 1024
    assert file.stat().st_mode & 0o777 == 0o600
    no_password = ["-o", "BatchMode=yes", "-i", str(rented.key), "-o", "IdentitiesOnly=yes"]
    strange = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    command = ["ssh", *no_password, *strange, "-p", str(host.port), f"root@{LOOPBACK}", "true"]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 255 and "Permission denied" in refused.stderr


@EACH
def test_there_is_no_systemd_and_no_more_rights_than_docker_gives(rented: Lab, name: str) -> None:
    assert said(rented, name, "cat /proc/1/comm") == "bash"
    absent = ("systemctl", "journalctl", "dbus-daemon", "supervisord", "sudo", "rsync")
    assert said(rented, name, f"for p in {' '.join(absent)}; do ! command -v $p || exit 1; done") == ""
    for forbidden in ("mount -t tmpfs none /mnt", "unshare --net true", "ip link set eth0 down"):
        assert rented.ssh(name, forbidden).returncode != 0, forbidden
    assert said(rented, name, "useradd --system probe && setpriv --reuid probe --clear-groups whoami") == "probe"


@EACH
def test_process_1_reaps_orphans_and_has_the_providers_variables(rented: Lab, name: str) -> None:
    said(rented, name, "(sleep 0.1 & exec sleep 0) ; sleep 0.5; ! ps -eo stat | grep -q ^Z")
    shown = said(rented, name, r"tr '\0' '\n' </proc/1/environ")
    variable = {"c1": "AutoDLContainerUUID", "c2": "RUNPOD_POD_ID", "c3": "VAST_CONTAINERLABEL"}[name]
    assert re.search(rf"^{variable}=", shown, re.M) and "container=" not in shown
    # What starts from process 1 and what starts over SSH leaves the cores to other hosts.
    assert "OMP_NUM_THREADS=1" in shown.split()
    assert said(rented, name, "echo $OMP_NUM_THREADS") == "1"


@EACH
def test_the_root_file_system_is_small_and_the_data_disk_is_not(rented: Lab, name: str) -> None:
    root, data = (int(size) for size in said(rented, name, f"df --output=size -B1G / {disk(name)}").split()[1:])
    assert root == 3 < data


def test_a_full_root_file_system_leaves_the_data_disk_usable(rented: Lab) -> None:
    full = rented.ssh(AUTODL, "head -c 4G /dev/zero >/var/full")
    assert full.returncode != 0 and "No space left on device" in full.stderr
    try:
        for other in ("/tmp/more", "/run/more"):
            assert "No space left" in rented.ssh(AUTODL, f"head -c 1M /dev/zero >{other}").stderr
        said(rented, AUTODL, f"head -c 1M /dev/zero >{disk(AUTODL)}/more")
    finally:
        rented.ssh(AUTODL, f"rm -f /var/full /tmp/more /run/more {disk(AUTODL)}/more")


def test_sftp_can_be_missing(rented: Lab, tmp_path: Path) -> None:
    def copies(name: str) -> bool:
        environment = os.environ | {"SSH_ASKPASS": str(rented.folder.askpass(name)), "SSH_ASKPASS_REQUIRE": "force"}
        command = ["scp", "-q", "-F", str(rented.ssh_config), f"{name}:/etc/hostname", str(tmp_path / name)]
        return subprocess.run(command, env=environment, capture_output=True).returncode == 0

    assert [copies(name) for name in (AUTODL, RUNPOD, VAST)] == [True, True, False]


def test_stop_and_start_keep_what_the_provider_keeps_and_run_its_hook(rented: Lab) -> None:
    hooks = {AUTODL: "/etc/autodl.sh", RUNPOD: "/post_start.sh", VAST: "/root/onstart.sh"}
    for name, hook in hooks.items():
        said(rented, name, f"echo root >/srv/kept; echo data >{disk(name)}/kept; echo stale >/run/kept")
        said(rented, name, f"echo 'echo again >>{disk(name)}/hook' >{hook}")
    keys = {name: host_key(rented, name) for name in hooks}
    for name in hooks:
        rented.stop(name)
        assert not rented.status().running[name]
        rented.start(name)
    seen = {
        name: said(rented, name, f"cat {disk(name)}/kept /srv/kept /run/kept {disk(name)}/hook 2>/dev/null; true")
        for name in hooks
    }
    assert seen == {AUTODL: "data\nroot\nstale\nagain", RUNPOD: "data", VAST: "data\nroot\nstale\nagain"}
    assert {name: host_key(rented, name) == keys[name] for name in hooks} == {AUTODL: True, RUNPOD: False, VAST: True}


def test_an_image_for_runpod_brings_its_hooks(tmp_path: Path) -> None:
    ready = "pgrep -x sshd >/dev/null && echo up || echo down"
    for hook in ("pre_start", "post_start"):
        (tmp_path / f"{hook}.sh").write_text(f"(echo {hook}; {ready}) >>/workspace/hooks\n")
    with lab_package.attached(hosts=0, containers=[Rented(provider="runpod")], layers=[tmp_path]) as running:
        running.stop("c1")
        running.start("c1")
        written = said(running, "c1", "cat /workspace/hooks").split()
    assert written == ["pre_start", "down", "post_start", "up"] * 2


@pytest.mark.parametrize(
    ("name", "command"),
    [(AUTODL, "shutdown"), (RUNPOD, "runpodctl stop pod $(hostname)"), (VAST, "vastai stop instance 1")],
)
def test_the_providers_command_stops_it_from_inside(rented: Lab, name: str, command: str) -> None:
    rented.ssh(name, command)
    assert rented.wait_until_off(name, 10), f"{name} still runs after {command}"
    rented.start(name)
    assert said(rented, name, "echo back") == "back"


def test_down_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "sdfleet/lab/test"
    running = lab_package.up(hosts=1, folder=folder, containers=[Rented(provider="runpod")])
    state = record(folder)
    assert [host.name for host in running.hosts] == ["h1", "c1"]
    written = fleet.write(running).read_text()
    assert f'address = "ssh -p {running.host("c1").port} root@{LOOPBACK}"' in written
    assert said(running, "c1", "echo $$ >/workspace/file; ping -c1 -W2 h1 >/dev/null && echo reached") == "reached"
    assert lab_package.down(folder)
    assert traces(folder, state) == []
