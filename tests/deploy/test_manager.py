"""What the controller is told of a host's service manager when that fails, or does not answer."""

import pytest

from deploy.connection import manager
from deploy.connection.several import connect
from deploy.connection.ssh import HostError
from deploy.onhost import running
from inventory.load import load
from tests.deploy.fake_hosts import FakeHosts, fakes

__all__ = ["fakes"]


def systemctl(fakes: FakeHosts, *lines: str) -> None:
    """Let the hosts' systemctl do this."""
    (fakes.folder / "programs/systemctl").write_text("\n".join(["#!/bin/sh", *lines, ""]))


@pytest.fixture
def hosts(fakes: FakeHosts) -> FakeHosts:
    fakes.write({"h1": "train"})
    return fakes


def test_a_systemd_that_fails_is_not_one_without_runs(hosts: FakeHosts) -> None:
    systemctl(hosts, "echo 'Failed to list units: Connection timed out' >&2", "exit 1")
    told = "h1: cannot list its training runs: systemctl failed with status 1: Failed to list units"
    with connect([load(hosts.file).hosts["h1"]]) as remotes, pytest.raises(HostError, match=told):
        manager.active_runs(remotes["h1"])


def test_a_change_does_no_more_than_that(hosts: FakeHosts) -> None:
    systemctl(hosts, 'echo "$1" >>"$FAKE_HOST/verbs"')
    with connect([load(hosts.file).hosts["h1"]]) as remotes:
        manager.change(remotes["h1"], "stop", "lora-train@ink.service")
        assert (hosts.host("h1") / "verbs").read_text() == "stop\n"
        assert manager.active_runs(remotes["h1"]) == []


def test_errors_name_what_a_program_does(hosts: FakeHosts) -> None:
    systemctl(hosts, "exec sleep 9")
    with connect([load(hosts.file).hosts["h1"]]) as remotes:
        told = "h1: `stop lora-train@ink.service` gave no answer within 0.5 s"
        with pytest.raises(HostError, match=told):
            manager.change(remotes["h1"], "stop", "lora-train@ink.service", timeout=0.5)
        with pytest.raises(HostError, match="h1: `running` failed with status 1: TypeError"):
            remotes["h1"].call(running, unit=5, unknown=5)
        with pytest.raises(HostError, match="h1: `activate` failed with status 2: "):
            remotes["h1"].start("activate", "--unknown")
