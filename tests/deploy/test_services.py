"""`sdfleet start`, `stop` and `restart`, on hosts that are folders."""

from pathlib import Path

import pytest

from deploy import console, services, units
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_rollback import serve

__all__ = ["fakes"]

LATER = "Stopped until you run: sdfleet start webui, the host boots, or the next apply"


def install(fakes: FakeHosts, *hosts: str, up: bool = True) -> None:
    """Give hosts services, running or not."""
    for host in hosts:
        (fakes.host(host) / "units").write_text("loaded\n")
        if up:
            (fakes.host(host) / "up").touch()


def restarted(fakes: FakeHosts, host: str) -> bool:
    return (fakes.host(host) / "asked").exists()


def test_a_service_is_stopped_started_and_restarted(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "train"})
    install(fakes, "h1", "h2")
    up = fakes.host("h1") / "up"
    stopped = fakes.sdfleet("stop", "webui")
    assert stopped.exit_code == 0, stopped.output
    assert "h1 webui stopped in" in stopped.output and LATER in stopped.output and "h2" not in stopped.output
    assert not up.exists()
    assert "h1 webui was stopped already" in fakes.sdfleet("stop", "webui").output
    started = fakes.sdfleet("start", "webui", "h1")
    assert started.exit_code == 0 and "h1 webui is ready after" in started.output and up.exists()
    assert "h1 webui is running already" in fakes.sdfleet("start", "webui").output
    again = fakes.sdfleet("restart", "webui", "webui")
    assert again.exit_code == 0 and "h1 webui is ready after" in again.output
    assert (fakes.host("h1") / "asked").read_text() == f"start {units.WEBUI}\nrestart {units.WEBUI}\n"


def test_all_services_of_a_host_are_started(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "webui", "h3": "train"})
    install(fakes, "h1", "h2", up=False)
    done = fakes.sdfleet("start", "h1")
    assert done.exit_code == 0 and "h1 webui is ready after" in done.output, done.output
    assert (fakes.host("h1") / "up").exists() and not (fakes.host("h2") / "up").exists()
    assert fakes.sdfleet("start", "h3").output.strip() == "h3 has no service that always runs"
    refused = fakes.sdfleet("start", "h9")
    assert refused.exit_code == 2 and "no service 'h9'" in refused.output


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_a_host_that_is_away_is_named_and_the_others_go_on(verb: str, fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "webui"})
    install(fakes, "h1", "h2", up=verb != "start")
    (fakes.host("h1") / "away").touch()
    done = fakes.sdfleet(verb, "webui")
    assert done.exit_code == 1
    assert "h2 webui " + ("stopped in" if verb == "stop" else "is ready after") in done.output
    assert "h1 (root@h1:22): cannot be reached: ssh: connect to host h1 port 22: No route to host" in done.output
    assert f"When h1 can be reached again: sdfleet {verb} webui h1" in done.output


def test_a_restart_that_fails_leaves_the_hosts_that_wait_as_they_are(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "webui", "h3": "webui"})
    install(fakes, "h1", "h2", "h3")
    (fakes.host("h2") / units.WEBUI).write_text("broken")
    done = fakes.sdfleet("restart", "webui")
    assert done.exit_code == 1
    assert "h1 webui is ready after" in done.output
    assert f"h2: {units.WEBUI} did not become ready: its last words; see: sdfleet logs h2 webui" in done.output
    assert "Not touched: h3. For later: sdfleet restart webui h3" in done.output
    assert [restarted(fakes, host) for host in ("h1", "h2", "h3")] == [True, True, False]


def test_a_service_that_does_not_listen_is_not_called_ready(fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "READY_SECONDS", 0)
    fakes.write({"h1": "train"})
    install(fakes, "h1")
    (fakes.host("h1") / "deaf").touch()
    done = fakes.sdfleet("restart", "tensorboard")
    assert done.exit_code == 1
    assert f"h1: {units.TENSORBOARD} runs, but nothing listens on 6007 after 0 s" in done.output


def test_a_service_that_is_not_installed_is_no_reason_to_stop(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "webui"})
    (fakes.host("h1") / "units").write_text("not-found\n")
    install(fakes, "h2")
    done = fakes.sdfleet("restart", "webui")
    assert done.exit_code == 1 and "h2 webui is ready" in done.output
    assert "h1: webui is not installed; run: sdfleet apply --limit h1" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("restart", "webiu"), "restart: no service 'webiu'; known are webui, comfyui, lora-scripts"),
        (("stop", "webui", "h9"), "stop: no host or group 'h9'; known are h1, webui"),
        (("start", "cache", "h1"), "hosts.h1: has no cache"),
        (("restart", "lora_scripts"), "no host has lora-scripts"),
    ],
)
def test_a_wrong_name_is_refused(words: tuple[str, ...], said: str, fakes: FakeHosts, tmp_path: Path) -> None:
    fakes.write({"h1": "webui"})
    done = fakes.sdfleet(*words)
    assert done.exit_code == 2 and said in done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rollback"], "the rollback of h1"),
        (["stop", "webui"], "the stop of webui on h1"),
        (["start", "webui"], "the start of webui on h1"),
        (["restart", "webui"], "the restart of webui on h1"),
        (["models", "check"], "the hashes of h1"),
    ],
)
def test_a_slow_host_is_named_while_a_verb_waits_for_it(
    words: list[str], told: str, fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.005)
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "good", "new")
    install(fakes, "h1", up=words[0] != "start")
    done = fakes.sdfleet(*words)
    assert done.exit_code == 0, done.output
    assert f"Still waiting: {told}, 0 s" in done.output
