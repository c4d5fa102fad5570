"""Hosts of the lab behave like servers."""

import subprocess
from pathlib import Path

import pytest

from lab import Lab

pytestmark = pytest.mark.lab


def test_ssh_leads_to_each_host_over_loopback(lab: Lab) -> None:
    for host in lab.hosts:
        eth0 = f"ip -4 -o address show eth0 | grep -c {host.address}/"
        command = f"hostname; whoami; systemctl is-system-running --wait; {eth0}"
        done = lab.ssh(host.name, command)
        failed = lab.ssh(host.name, "systemctl list-units --failed --plain --no-legend").stdout
        assert done.stdout.split() == [host.name, "root", "running", "1"], f"{done.stderr}failed units: {failed}"


def test_a_wrong_host_key_is_refused(lab: Lab, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    first, second = (f"[127.0.0.1]:{host.port}" for host in lab.hosts)
    swapped = lab.known_hosts.read_text().replace(first, "SWAP").replace(second, first).replace("SWAP", second)
    known.write_text(swapped)
    command = ["ssh", "-F", str(lab.ssh_config), "-o", f"UserKnownHostsFile={known}", "h1", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_large_transfers_arrive_whole(lab: Lab) -> None:
    data = bytes(range(256)) * (1 << 14)
    done = subprocess.run(lab.ssh_command("h1", "cat"), input=data, capture_output=True, check=True)
    assert done.stdout == data


def test_hosts_reach_each_other_and_the_gateway_but_nothing_else(lab: Lab) -> None:
    assert lab.ssh("h1", f"ping -c1 -W2 h2 && ping -c1 -W2 {lab.gateway}").returncode == 0
    outside = lab.ssh("h1", "ping -c1 -W2 192.0.2.1")
    assert outside.returncode != 0
    assert "unreachable" in outside.stderr


def test_disks_take_hard_links_and_are_seen_from_outside(lab: Lab) -> None:
    done = lab.ssh("h1", "mkdir -p /srv/links && cd /srv/links && echo data > a && ln -f a b && stat -c %h b")
    assert done.stdout == "2\n"
    assert (lab.root("h1") / "srv/links/b").read_text() == "data\n"
    assert not (lab.root("h2") / "srv/links").exists()


def test_threads_leave_the_cores_to_other_hosts(lab: Lab) -> None:
    assert lab.ssh("h1", "echo $OMP_NUM_THREADS").stdout == "1\n"
    assert "OMP_NUM_THREADS=1" in lab.ssh("h1", "systemd-run --quiet --wait --pipe env").stdout.split()


def test_reboot_keeps_files_and_changes_the_boot_id(lab: Lab) -> None:
    before = lab.boot_id("h1")
    lab.ssh("h1", "echo kept > /srv/kept")
    lab.reboot("h1")
    assert before is not None
    assert lab.boot_id("h1") not in (None, before)
    assert lab.ssh("h1", "cat /srv/kept").stdout == "kept\n"


def test_a_power_cut_and_a_new_start(lab: Lab) -> None:
    lab.kill("h2")
    assert lab.status().running == {"h1": True, "h2": False}
    assert lab.boot_id("h2") is None
    lab.start("h2")
    assert lab.ssh("h2", "hostname").stdout == "h2\n"


def test_a_cut_cable_can_be_plugged_in_again(lab: Lab) -> None:
    lab.cut_network("h2")
    try:
        assert lab.status().cut == ("h2",)
        assert lab.boot_id("h2") is None
    finally:
        lab.restore_network("h2")
    assert lab.ssh("h2", "hostname").stdout == "h2\n"


def test_programs_run_inside_the_labs_network(lab: Lab) -> None:
    addresses = lab.run_in_netns(["ip", "-4", "-o", "address"]).stdout
    assert lab.gateway in addresses
