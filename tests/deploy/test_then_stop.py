"""`--then stop`, on hosts that are folders: a host is off when its folder has a file `away`."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.connection import host_memory, hostlock
from deploy.runs import then
from inventory.load import load
from roles.onhost import host_stop
from tests.deploy.fake_hosts import Ended, FakeHosts, fakes

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

RUNNING = "lora-train@ink-2.service loaded active running LoRA training run ink-2\n"
COSTS = "h1 was not stopped: it still runs, and costs"
ENDED = "ActiveState=inactive\nResult=success\nInvocationID=\n"


def ended(fakes: FakeHosts, stop: str = "touch {away}", how: str = "finished", more: str = "") -> Path:
    """A host h1 with a run that has ended; it is stopped by a command that may name the folder's places."""
    away, result = fakes.host("h1") / "away", fakes.folder / "fetched/ink/output/ink.safetensors"
    command = json.dumps(stop.format(away=away, result=result))
    fakes.write({"h1": "train"}, f"[rental]\nstop_command = {command}\n{more}")
    (fakes.host("h1") / "show").write_text(ENDED)
    run = fakes.root("h1") / "runs/ink"
    (run / "output").mkdir(parents=True)
    (run / "output/ink.safetensors").write_bytes(b"weights" * 1000)
    (run / "config.toml").write_text("")
    record: dict[str, Any] = {"format": 1, "steps": 5, "ended": {"how": how, "reason": "the loss is not a number"}}
    (run / "run.json").write_text(json.dumps(record))
    return away


def follow(fakes: FakeHosts, *words: str) -> Ended:
    into = ["--into", str(fakes.folder / "fetched")]
    return fakes.sdfleet("train", "follow", "ink", *into, *(words or ("--then", "stop")))


def test_the_host_is_stopped_when_the_results_are_here(fakes: FakeHosts) -> None:
    away = ended(fakes, stop="test -e {result} && touch {away}")
    done = follow(fakes)
    assert done.exit_code == 0, done.output
    assert away.exists() and "h1 was stopped by sdfleet today" in done.output


def test_a_command_that_takes_the_connection_with_it_has_worked(fakes: FakeHosts) -> None:
    away = ended(fakes, stop="touch {away}; kill -9 $PPID")
    done = follow(fakes)
    assert done.exit_code == 0 and away.exists(), done.output


def test_the_verb_can_be_given_again_whenever_it_was_cut_off(fakes: FakeHosts) -> None:
    away = ended(fakes)
    assert follow(fakes, "--on", "h1").exit_code == 0 and not away.exists()  # fetched, and then killed
    assert follow(fakes).exit_code == 0 and away.exists()
    again = follow(fakes)
    assert again.exit_code == 1 and "sdfleet stopped it today; start it on the provider's page" in again.output


def test_a_result_that_is_not_here_keeps_the_host_on(fakes: FakeHosts) -> None:
    away = ended(fakes)
    with (fakes.root("h1") / "runs/ink/output/huge.bin").open("wb") as huge:
        huge.truncate(9_000_000_000)  # more than is fetched
    done = follow(fakes)
    assert done.exit_code == 1 and not away.exists()
    assert f"{COSTS}: output/huge.bin of ink is not in" in done.output


def shared(fakes: FakeHosts) -> list[Path]:
    """A run that has ended, shared by h1, where its results are, and h2; the file that appears where one is stopped."""
    hosts = ["h1", "h2"]
    aways = [fakes.host(name) / "away" for name in hosts]
    stops = [f"[groups.of-{away.parent.name}]\nrental.stop_command = 'touch {away}'\n" for away in aways]
    fakes.write({name: f"train of-{name}" for name in hosts}, "".join(stops))
    for rank, name in enumerate(hosts):
        (fakes.host(name) / "show").write_text(ENDED)
        run = fakes.root(name) / "runs/ink"
        (run / "output").mkdir(parents=True)
        (run / "config.toml").write_text("")
        (run / "run.json").write_text(json.dumps({"format": 1, "steps": 5, "ended": {"how": "finished", "reason": ""}}))
        (run / "turn.json").write_text(json.dumps({"nodes": {"count": 2, "rank": rank}}))
    (fakes.root("h1") / "runs/ink/output/ink.safetensors").write_bytes(b"weights" * 1000)
    return aways


def test_the_hosts_that_share_a_run_are_stopped_all_or_none(fakes: FakeHosts, monkeypatch: Any) -> None:
    monkeypatch.setattr(then, "LOOK_SECONDS", 0.1)
    first, second = shared(fakes)
    for missing, left in ((second, first), (first, second)):
        missing.touch()
        done = follow(fakes)
        assert done.exit_code == 1 and not left.exists(), done.output
        assert "did not answer and may have it" in done.output
        assert "When it can be reached again: sdfleet train follow ink --then stop" in done.output
        missing.unlink()
    alone = follow(fakes, "--on", "h2", "--then", "stop")
    assert alone.exit_code == 1 and not second.exists(), alone.output
    assert "the results of ink are on another host that shares it, not on h2; leave --on out" in alone.output
    done = follow(fakes)
    assert done.exit_code == 0 and first.exists() and second.exists(), done.output


def test_a_host_that_left_the_fleet_is_not_passed_over(fakes: FakeHosts, monkeypatch: Any) -> None:
    monkeypatch.setattr(then, "LOOK_SECONDS", 0.1)
    first, second = shared(fakes)
    whole = fakes.file.read_text()
    for left, gone in (("h1", "h2"), ("h2", "h1")):
        fakes.file.write_text(
            whole.replace(f'[hosts.{gone}]\naddress = "{gone}"\ngroups = ["train", "of-{gone}"]\n', "")
        )
        done = follow(fakes)
        assert done.exit_code == 1 and not first.exists() and not second.exists(), done.output
        assert f"ink is shared by 2 hosts, of which the fleet file has {left} alone" in done.output
        assert f"or stop one alone: sdfleet train follow ink --on {left} --then stop" in done.output
        # h1 has the results and may be stopped alone; h2 is refused for want of them.
        alone = follow(fakes, "--on", left, "--then", "stop")
        assert alone.exit_code == (0 if left == "h1" else 1), alone.output
        first.unlink(missing_ok=True)


def test_a_run_that_failed_does_not_stop_the_meter_and_says_so(fakes: FakeHosts, monkeypatch: Any) -> None:
    monkeypatch.setattr("deploy.runs.follow.GRACE_SECONDS", 0)
    away = ended(fakes, how="failed")
    done = follow(fakes)
    assert done.exit_code == 1 and not away.exists()
    assert COSTS in done.output and "ink failed on h1: the loss is not a number" in done.output


def test_with_idle_stop_it_says_when_the_meter_stops_after_all(fakes: FakeHosts) -> None:
    ended(fakes, how="failed", more='idle_stop = "30m"')
    assert f"{COSTS}, until it has been idle for 30m" in follow(fakes).output


def test_a_host_that_is_used_runs_on_and_it_says_why(fakes: FakeHosts) -> None:
    away = ended(fakes)
    (fakes.host("h1") / "active").write_text(RUNNING)
    done = follow(fakes)
    assert done.exit_code == 1 and not away.exists()
    assert f"{COSTS}: ink-2 trains, or waits for its turn; to stop it when that is over: " in done.output
    assert "sdfleet train follow ink --then stop" in done.output
    (fakes.host("h1") / "active").unlink()
    assert follow(fakes).exit_code == 0 and away.exists()


def test_a_host_whose_services_do_not_run_is_not_started_to_be_stopped(fakes: FakeHosts, monkeypatch: Any) -> None:
    away = ended(fakes)
    monkeypatch.setattr(hostlock, "_SCRIPT", hostlock._SCRIPT.replace("/run/systemd/system", "/nowhere"))
    boot = fakes.root("h1") / "boot.sh"
    boot.write_text(f'#!/bin/sh\n[ "$1" != serves ] || exit 1\ncp {boot}.runs "$FAKE_HOST/active"\n')
    boot.chmod(0o755)
    boot.with_name("boot.sh.runs").write_text(RUNNING)
    done = follow(fakes)
    assert done.exit_code == 0 and away.exists(), done.output
    assert "which starts its services" not in done.output and not (fakes.host("h1") / "active").exists()


def test_a_command_that_fails_is_told_of_and_the_host_not_taken_for_stopped(fakes: FakeHosts) -> None:
    ended(fakes, stop="echo no such pod >&2; exit 4")
    done = follow(fakes)
    assert done.exit_code == 1 and "ended with status 4: no such pod" in done.output and COSTS in done.output
    assert host_memory.known(load(fakes.file).hosts["h1"]).stopped == 0


def test_a_host_that_still_answers_is_not_taken_for_stopped(fakes: FakeHosts, monkeypatch: Any) -> None:
    monkeypatch.setattr(then, "GONE_SECONDS", 0.1)
    ended(fakes, stop="true")
    done = follow(fakes)
    assert done.exit_code == 1 and "still answers 0.1 s after `true`; see the provider's page" in done.output


@pytest.mark.parametrize(
    ("stop", "more", "words", "code", "says"),
    [
        ("auto", "", (), 1, "h1: how it is stopped is not known: it is no container of a known provider; set "),
        ("", "", (), 1, "set rental.stop_command"),
        (
            "nopodctl stop pod $ID",
            "",
            (),
            1,
            "h1: nopodctl is not there, so `nopodctl stop pod $ID` could not stop it; ",
        ),
        ("/opt/nothing/stop", "", (), 1, "h1: /opt/nothing/stop is not there, so "),
        ("true", "keeps_data = false", (), 2, "rental.keeps_data: is false, so a stop would lose what else is on the"),
        ("true", "", ("--then", "later"), 2, "'later' is not"),
    ],
)
def test_what_cannot_be_stopped_is_said_before_anything_else(
    fakes: FakeHosts, stop: str, more: str, words: tuple[str, ...], code: int, says: str
) -> None:
    ended(fakes, stop=stop, more=more)
    done = follow(fakes, *words)
    assert done.exit_code == code and says in done.output, done.output
    assert not (fakes.folder / "fetched").exists()


@pytest.mark.parametrize(
    "command",
    [
        "{there} stop",
        "sh {there}",
        "exec {there}",
        "[ -e / ]",
        ": && nopodctl",
        "! nopodctl",
        "if :; then nopodctl; fi",
        "nopodctl || {there}",
        "nopodctl; {there}",
        "PATH=$PATH:/opt nopodctl",
        "$STOP now",
        "${{STOP:-nopodctl}}",
        "'no podctl' x",
        "no\\ podctl x",
        "~/nopodctl",
        "(nopodctl)",
        "</dev/null nopodctl",
        "",
    ],
)
def test_a_command_is_called_missing_only_where_that_is_sure(command: str, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("")
    there.chmod(0o755)
    assert host_stop.missing(command.format(there=there)) == ""


def test_a_run_that_is_not_followed_cannot_be_fetched_and_so_not_stopped(fakes: FakeHosts) -> None:
    ended(fakes)
    for verb in (["resume", "ink"], ["run", str(fakes.file)]):
        done = fakes.sdfleet("train", *verb, "--no-follow", "--then", "stop")
        assert done.exit_code == 2 and "--then: needs the run to be followed" in done.output, done.output


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"idle": 720.0, "uses": []}, "h1: stops when idle for 30 min (idle for 12)"),
        ({"idle": 0.0, "uses": ["ink draws"]}, "h1: stops when idle for 30 min (in use: ink draws)"),
        (None, "h1: is to stop when idle for 30 min, but nothing looks whether it is; see: sdfleet logs h1 idle-stop"),
    ],
)
def test_status_says_when_a_host_stops_by_itself(
    fakes: FakeHosts, told: dict[str, Any] | None, says: str, monkeypatch: Any
) -> None:
    fakes.write({"h1": "train"}, '[rental]\nidle_stop = "30m"\n')
    state = fakes.folder / "state.json"
    monkeypatch.setattr("deploy.status.IDLE_STATE", str(state))
    if told:
        state.write_text(json.dumps({**told, "limit": 1800, "at": time.time()}))
    assert says in fakes.sdfleet("status").output
