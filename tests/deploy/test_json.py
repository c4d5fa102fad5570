"""What programs read: one JSON document on standard output, whatever happens."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import cli, console
from deploy.doctor import hosts as doctor_hosts
from deploy.engine import client
from deploy.engine.events import Event, Finished, HostResult, Log, Planned, Request
from deploy.locks import lock
from deploy.shapes import DOCUMENTS
from deploy.verification import verify
from inventory.model import Fleet
from tests.deploy import json_page
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_rollback import serve

__all__ = ["fakes"]

SECRET = "hunter2hunter2"


@pytest.fixture
def printed(
    fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Run the program; its exit code, the document on stdout, and stderr."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(lock, "require", lambda *_: None)

    def run(*words: str) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.run([*words, "--json", "--fleet", str(fakes.file)])
        said = capsys.readouterr()
        assert SECRET not in said.out + said.err
        document = json.loads(said.out)
        assert (document["version"], document["exit_code"]) == (1, ended.value.code or 0)
        assert not console.out.stderr, "the next command of this process would print to the wrong stream"
        return int(ended.value.code or 0), document, said.err

    return run


Printed = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the engine send these events."""

    def sends(*events: Event) -> None:
        def engine_events(fleet: Fleet, request: Request) -> Iterator[Event]:
            yield from (event for event in events if getattr(event, "host", None) in request.hosts)

        monkeypatch.setattr(client, "engine_events", engine_events)

    return sends


def test_the_page_has_an_example_of_every_document() -> None:
    assert json_page.EXAMPLES.keys() == DOCUMENTS.keys()


@pytest.mark.parametrize("command", ["plan", "drift"])
def test_a_plan_lists_what_would_change(command: str, fakes: FakeHosts, printed: Printed, engine: Any) -> None:
    fakes.write({"h1": "", "h2": ""})
    engine(
        Log(host="h1", level=40, text="a warning"),
        Planned(host="h1", operation="Base | Install git", change=True),
        Planned(host="h1", operation="Base | Make folders", change=False),
        HostResult(host="h1", status="ok", changed=1, unchanged=1, seconds=1.23456),
        HostResult(host="h2", status="ok", changed=0, unchanged=2),
    )
    code, document, said = printed(command)
    assert code == (3 if command == "drift" else 0) and document["command"] == command
    assert document["hosts"]["h1"] == {
        "error": None,
        "status": "ok",
        "changed": 1,
        "unchanged": 1,
        "seconds": 1.235,
        "round_trips": 0,
        "operations": [{"operation": "Base | Install git", "result": "would change", "seconds": 0.0}],
    }
    assert document["hosts"]["h2"]["operations"] == []
    assert "h1 a warning" in said and "Next: sdfleet apply" in said, "people read on stderr"


def test_a_plan_of_a_host_that_is_away_knows_no_changes(fakes: FakeHosts, printed: Printed, engine: Any) -> None:
    fakes.write({"h1": ""})
    engine(HostResult(host="h1", status="unreachable", error="no route"))
    code, document, _ = printed("plan")
    assert code == 1 and document["hosts"]["h1"]["changed"] is None
    assert document["hosts"]["h1"]["error"] == {
        "what": "no route",
        "where": "h1",
        "next": "Fix this, then run the same command again.",
    }


def test_an_apply_counts_what_the_cache_changed_before(fakes: FakeHosts, printed: Printed, engine: Any) -> None:
    fakes.write({"h1": "cache", "h2": ""})
    engine(
        Planned(host="h1", operation="Cache | Run it", change=True),
        Finished(host="h1", operation="Cache | Run it", result="changed", seconds=2),
        HostResult(host="h1", status="ok", changed=1, unchanged=3, seconds=2),
        HostResult(host="h2", status="ok", changed=0, unchanged=4),
    )
    code, document, _ = printed("apply")
    assert code == 0
    found = document["hosts"]["h1"]
    assert (found["changed"], found["unchanged"], found["seconds"]) == (2, 3, 4)
    assert [one["result"] for one in found["operations"]] == ["changed", "changed"]
    assert document["hosts"]["h2"]["changed"] == 0


def test_verify_lists_what_has_drifted(fakes: FakeHosts, printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write({"h1": "", "h2": ""})
    (fakes.host("h2") / "away").touch()
    outcome = {"host": "h1", "role": "base", "check": "test_git_is_there", "reason": "no git", "seconds": 0.1}
    monkeypatch.setattr(verify, "_outcomes", lambda *_: iter([{**outcome, "outcome": "failed"}]))
    code, document, said = printed("verify")
    assert code == 1 and "Verified 1 of 2 host(s)" in said
    assert document["hosts"]["h1"]["drift"] == [{"role": "base", "check": "git is there", "reason": "no git"}]
    assert document["hosts"]["h1"]["result"] == "drift" and document["hosts"]["h1"]["error"] is None
    assert document["hosts"]["h2"]["result"] == "unreachable"
    assert document["hosts"]["h2"]["error"]["where"] == "h2"


def test_status_and_releases_and_runs_name_the_host_that_is_away(fakes: FakeHosts, printed: Printed) -> None:
    fakes.write({"h1": "webui train", "h2": "train"})
    (fakes.host("h2") / "away").touch()
    serve(fakes, "h1", "good", "new")
    run = fakes.root("h1") / "runs/ink"
    run.mkdir(parents=True)
    (run / "config.toml").write_text("")
    (run / "log.jsonl").write_text('{"event": "step", "step": 3, "steps": 9, "loss": NaN}\n')
    for words, code in ((("status",), 1), (("releases",), 1), (("train", "list"), 0)):
        done, document, said = printed(*words)
        assert (done, document["command"]) == (code, " ".join(words))
        lost = document["hosts"]["h2"]
        assert lost.keys() == {"error", "warning"} and "No route to host" in lost["error"]["what"]
        assert lost["error"]["where"] == "h2" and lost["error"]["next"].startswith("Check address")
        found = document["hosts"]["h1"]
        assert found["error"] is None
        match words:
            case ("status",):
                assert (found["webui"]["release"], found["models"]["expected"]) == ("r1", 1)
                assert found["runs"].keys() == {"ink"}
            case ("releases",):
                assert [one["release"] for one in found["apps"]["webui"]] == ["r1", "r0"]
            case _:
                [listed] = found["runs"]
                assert (listed["name"], listed["progress"]["step"], listed["progress"]["loss"]) == ("ink", 3, None)
                assert "skipped" in said


def test_doctor_lists_findings(fakes: FakeHosts, printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write({"h1": "", "h2": ""}, more='[secrets]\ncivitai_token = { env = "TOKEN" }\n')
    monkeypatch.setenv("TOKEN", SECRET)
    (fakes.host("h2") / "away").touch()
    monkeypatch.setattr(doctor_hosts, "judge", lambda *_: [])
    monkeypatch.setattr(doctor_hosts, "look", lambda remote: remote.run(["true"]))
    code, document, _ = printed("doctor")
    assert code == 3 and document["hosts"]["h1"] == {"error": None, "findings": []}
    [finding] = document["hosts"]["h2"]["findings"]
    assert finding["level"] == "bad" and finding["cure"].startswith("Check address")
    assert {one["subject"] for one in document["controller"]["findings"]} >= {"fleet", "ssh", "secrets"}


@pytest.mark.parametrize("command", DOCUMENTS)
def test_an_error_that_ends_a_command_is_a_document(command: str, fakes: FakeHosts, printed: Printed) -> None:
    fakes.file.write_text('[fleet]\nname = "x"\n[hosts.h1]\naddress = "h1"\nwebui.prot = 1\nwebui.port = 0\n')
    code, document, said = printed(*command.split())
    assert (code, document["command"], document["hosts"]) == (2, command, {})
    [port, prot] = sorted(document["errors"], key=lambda one: str(one["where"]))
    assert prot["where"] == f"{fakes.file}: hosts.h1.webui.prot" and "did you mean port" in prot["what"]
    assert port["next"] and len(said.splitlines()) == 2


@pytest.mark.parametrize("command", DOCUMENTS)
def test_a_wrong_command_line_is_a_document(command: str, printed: Printed) -> None:
    code, document, said = printed(*command.split(), "--nonsense")
    assert (code, document["command"]) == (2, command)
    assert "No such option: --nonsense" in document["errors"][0]["what"] and "--nonsense" in said


def test_a_full_disk_is_a_document(fakes: FakeHosts, printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/x")

    fakes.write({"h1": ""})
    monkeypatch.setattr(client, "run", full)
    code, document, said = printed("plan")
    assert code == 1 and document["errors"][0]["where"] == "/tmp/x"
    assert "error /tmp/x: No space left on device. Fix this, then run the same command again." in said


def test_json_of_somebody_elses_option_is_not_asked_for(fakes: FakeHosts, tmp_path: Path) -> None:
    assert fakes.sdfleet("check", "--json").exit_code == 2
