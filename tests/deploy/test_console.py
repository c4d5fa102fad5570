"""What unmanaged write (names, answers, metadata, journal lines) is shown on the terminal, and does nothing there."""

import ast
import io
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.table import Table
from rich.text import Text

from deploy import cli, console, models, releases, status, stores
from deploy.connection.ssh import HostError
from deploy.console import Terminal, err, out, print_table, styled
from deploy.doctor import report as doctor
from deploy.doctor.finding import bad
from deploy.documents import Document
from deploy.engine.events import Finished, HostResult, Log, Planned, Started
from deploy.engine.view import EngineView
from deploy.rollout import command as rollout
from deploy.rollout.gates import Failure
from deploy.runs import follow
from deploy.runs.progress import Progress
from deploy.shapes import HostFindings
from deploy.verbs import setup
from deploy.verification import verify
from inventory.errors import SdfleetError
from roles import programs
from roles.drawing import TITLES
from tests import onhost
from training import cli as training_cli
from training.terminal import say, visible, visible_line

TREE = Path(__file__).resolve().parents[2]
PROGRAMS = ("deploy", "inventory", "training")
ON_HOSTS = ("deploy/onhost", "deploy/engine/process.py")
"""Their output is read by programs."""

CLIPBOARD = "\x1b]52;c;ZXZpbA==\x07"
REDDER = "\x9b31m"
BACKWARDS = "cod\u202eexe.gpj"
HOSTILE = f"[/x][bold red]a[[b]]{CLIPBOARD}{REDDER}{BACKWARDS}\u2028\udcff\\"
"""Markup that would raise, colours and clipboard in C0 and C1, reversed text, a line separator, a byte of no text."""


def harmless(text: str) -> bool:
    """Whether a terminal only draws the text."""
    return not [char for char in text if not char.isprintable() and char not in "\n"]


def shown(terminal: Terminal, show: Callable[[], Any]) -> str:
    """What `show` prints, wide enough that nothing is folded."""
    file = io.StringIO()
    # `file` asked for is standard output as it is now, which other tests replace.
    before = terminal._file, terminal._width
    terminal._file, terminal._width = file, 2000
    try:
        show()
    finally:
        terminal._file, terminal._width = before
    return file.getvalue()


def test_nothing_that_acts_is_left_and_nothing_that_is_drawn_is_lost() -> None:
    assert visible("Кот 猫 🐈 e\u0301 क\u094d\u200dष\ttab\n") == "Кот 猫 🐈 e\u0301 क\u094d\u200dष\ttab\n"
    assert visible(CLIPBOARD) == "\\u001b]52;c;ZXZpbA==\\u0007"
    assert visible("\r\x7f\x9b\u202e\u2066\ufeff\U000e0041\udcff") == (
        "\\u000d\\u007f\\u009b\\u202e\\u2066\\ufeff\\U000e0041\\udcff"
    )
    assert visible_line("a\nerror b\tc") == "a\\nerror b\\tc"
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert not set(visible(everything)) & {chr(code) for code in [*range(9), *range(11, 32), *range(127, 160)]}


def test_strings_are_no_markup_and_templates_are() -> None:
    assert shown(out, lambda: out.print("Edit its [hosts.*] tables, [[models]] :cat: [/x]")) == (
        "Edit its [hosts.*] tables, [[models]] :cat: [/x]\n"
    )
    line = styled("[bold]{}[/]: {}[dim]{}[/]!", "[red]a[/]\n\\", Text("b", "green"), "c")
    assert line.plain == "[red]a[/]\\n\\: bc!"
    styles = {(line.plain[span.start : span.end], str(span.style)) for span in line.spans if span.end > span.start}
    assert {("[red]a[/]\\n\\", "bold"), ("c", "dim")} <= styles
    assert not [style for text, style in styles if "red" in style]


def events() -> None:
    view = EngineView((HOSTILE,), apply=True, verbose=True)
    view.show(Planned(host=HOSTILE, operation=HOSTILE, change=True))
    view.show(Finished(host=HOSTILE, operation=HOSTILE, result="changed", seconds=1))
    view.show(Log(host=HOSTILE, level=40, text=f"{HOSTILE}\n{HOSTILE}"))
    view.show(Log(host="", level=40, text=HOSTILE))
    view.show(HostResult(host=HOSTILE, status="failed", error=HOSTILE))
    out.print(view._render())
    view.finish(HOSTILE)


def doctors() -> None:
    doctor._print({HOSTILE: HostFindings(findings=(bad(HOSTILE, HOSTILE, HOSTILE),))}, str)


def statuses() -> None:
    webui = {**READY, "release": HOSTILE}
    for seen in (
        {"webui": {**webui, "fault": {"at": HOSTILE, "reason": HOSTILE}}},
        {"webui": {**webui, "problem": HOSTILE}},
        {"comfyui": {**webui, "answers": False, "unit": HOSTILE}},
        {"comfyui": {**webui, "release": None}},
        {},
    ):
        host = {
            "gpus": [{**dict.fromkeys(("name", "driver", "used_mb", "load_percent"), HOSTILE), "total_mb": "2"}],
            "models": {"expected": 1, "missing": [HOSTILE]},
            "os": HOSTILE,
            "services": {HOSTILE: HOSTILE, "good": "active"},
            "drawing": seen,
        }
        for cell in status._row(HOSTILE, status.state({**STATE, **host}, {HOSTILE: "running"}), [*TITLES]):
            out.print(cell)


def listed_releases() -> None:
    words = dict.fromkeys(("release", "left", "why", "since", "differs"), HOSTILE)
    entry = releases._release({**ENTRY, **words, "current": False, "built": dict.fromkeys(BUILT, HOSTILE)})
    out.print(releases._table({HOSTILE: {HOSTILE: (entry,)}}))


def verdicts() -> None:
    seen = verify.Verdict()
    seen.count({"outcome": "failed", "seconds": 1, "role": HOSTILE, "check": HOSTILE, "reason": HOSTILE})
    verify._report({HOSTILE: seen, "gone": verify.Verdict(unreachable=HostError(HOSTILE))}, 1)


def rollouts() -> None:
    stopped = type("Stopped", (), {})()
    stopped.failures, stopped.left_out = [Failure(HOSTILE, "picture", HOSTILE, (HOSTILE,))], {HOSTILE: HOSTILE}
    stopped.remotes, stopped.touched, stopped.passed, stopped.proven = {HOSTILE: None}, [], [], False
    rollout._sum_up(stopped, None, rollout.Asked((HOSTILE,), Path(HOSTILE), (), False, False, False, False))


def followed() -> None:
    class Host:
        def read(self, run: str, offset: int) -> dict[str, Any]:
            text = json.dumps({"event": HOSTILE, "step": 1, "steps": 2, "message": HOSTILE}) + "\n"
            return {"text": text, "offset": offset + 1, "state": "finished", "reason": HOSTILE}

    ended = follow.follow(Host(), HOSTILE, sleep=lambda seconds: None)
    out.print(ended.progress.line())
    progress = Progress()
    progress.feed(json.dumps({"event": "error", "message": HOSTILE}) + "\n")
    out.print(progress.line())


def failed_models() -> None:
    with pytest.raises(SdfleetError):
        stores.answered({HOSTILE: HostError(HOSTILE)})


def failed_verb() -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise SdfleetError(f"{HOSTILE}\n{HOSTILE}")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match="1"):
        patch.setattr(cli, "app", fails)
        cli.run()
    try:
        fails()
    except SdfleetError as error:
        cli._show_traceback(type(error), error, error.__traceback__)


@pytest.mark.parametrize(
    "show",
    [events, doctors, statuses, listed_releases, verdicts, rollouts, followed, failed_models, failed_verb],
)
def test_hostile_words_are_drawn_by_every_verb(show: Callable[[], None]) -> None:
    said = ""

    def both() -> None:
        nonlocal said
        said = shown(err, show)

    printed = shown(out, both)
    said += printed
    assert harmless(said), repr(said)
    assert "[/x][bold red]a[[b]]" in said or show is followed


RELEASE = "v1.10.1-8d1f0c4be2"
BUILT = {"at": "2026-11-27 03:52:11 UTC", "by": "ann@studio-workstation", "lock": "0123456789"}
ENTRY: dict[str, Any] = {
    "release": RELEASE,
    "current": True,
    "left": "",
    "why": "",
    "whole": True,
    "by": "",
    "manifest": {},
    "since": "2026-11-27 03:53:40 UTC",
    "differs": "without --medvram",
    "built": BUILT,
}


def shown_at(width: int, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed from now on, on a terminal of so many columns."""
    text = io.StringIO()
    monkeypatch.setattr(out, "_file", text)
    monkeypatch.setattr(out, "_width", width)
    return text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_tables_cut_nothing_on_a_narrow_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_at(width, monkeypatch)
    entries = (releases._release(ENTRY), releases._release({**ENTRY, "current": False}))
    print_table(releases._table({"gpu-1": {"webui": entries}}))
    lines = text.getvalue().splitlines()
    for whole in (RELEASE, BUILT["at"], BUILT["by"], ENTRY["since"]):
        assert sum(whole in line for line in lines) == 2, "once a release, never cut"
    assert (len(lines) == 3) == (width == 200)
    assert all(len(line.rstrip()) <= width for line in lines)


READY: dict[str, Any] = {
    "unit": "active",
    "since": None,
    "answers": True,
    "problem": "",
    "first_picture_s": 3.2,
    "extensions_by_hand": [],
    "release": "v1.10.1-cu121-0a1b2c3d4e5f",
    "fault": None,
}
STATE: dict[str, Any] = {
    "os": "Ubuntu 24.04.1 LTS",
    "provider": "",
    "gpus": [
        {
            "name": "NVIDIA GeForce RTX 4090",
            "driver": "580",
            "used_mb": "2100",
            "total_mb": "24564",
            "load_percent": "3",
        }
    ],
    "gpu_problem": "",
    "drawing": {"webui": READY},
    "services": {"lora-scripts": "active", "lora-scripts-tensorboard": "failed", "gateway": "active"},
    "models": {"expected": 12, "missing": ["ink"]},
    "disk": {"free_gb": 123.0, "total_gb": 900.0},
    "idle": None,
    "asleep": False,
    "confirmation": {"undone": {}, "waits": {}},
}


def test_status_of_a_host_takes_few_lines_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_at(80, monkeypatch)
    draws = ["webui", "comfyui"]
    table = Table(*status.columns(draws), box=None)
    runs = {"a": "running", "b": "queued", "c": "finished"}
    comfyui = READY | {"release": "a125cd84b0-5e6f7a8b9c0d", "first_picture_s": 8.2}
    for name, state in (
        ("gpu-1.studio.example", status.state(STATE, runs)),
        ("gpu-2", status.state(STATE | {"drawing": {}, "services": {}}, {})),
        ("gpu-3", status.state(STATE | {"drawing": {"comfyui": comfyui}, "services": {}}, {})),
    ):
        table.add_row(*status._row(name, state, draws))
    print_table(table)
    assert text.getvalue().splitlines() == [
        "gpu-1.studio.example  up yes  OS Ubuntu 24.04.1 LTS",
        "  GPU NVIDIA GeForce RTX 4090 2100/24564 MB  WebUI ready, drew in 3.2 s",
        "  release v1.10.1-cu121-0a1b2c3d4e5f",
        "  services lora-scripts, lora-scripts-tensorboard failed, gateway  models 11/12",
        "  disk free 123 of 900 GB  runs 1 running, 1 queued, 1 finished",
        "gpu-2  up yes  OS Ubuntu 24.04.1 LTS  GPU NVIDIA GeForce RTX 4090 2100/24564 MB",
        "  models 11/12  disk free 123 of 900 GB",
        "gpu-3  up yes  OS Ubuntu 24.04.1 LTS  GPU NVIDIA GeForce RTX 4090 2100/24564 MB",
        "  ComfyUI ready, drew in 8.2 s  release a125cd84b0-5e6f7a8b9c0d  models 11/12",
        "  disk free 123 of 900 GB",
    ]


def test_status_has_columns_for_what_draws_in_the_fleet() -> None:
    assert status.columns([]) == ["host", "up", "OS", "GPU", "services", "models", "disk free", "runs"]
    assert status.columns(["webui"])[4:7] == ["WebUI", "release", "services"]
    assert status.columns(["webui", "comfyui"])[4:9] == ["WebUI", "release", "ComfyUI", "release", "services"]


def test_results_keep_long_host_names_whole_on_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_at(80, monkeypatch)
    name = f"gpu-1.{'render.' * 8}studio.example"
    view = EngineView((name, "gone"), apply=True, verbose=True)
    view.results[name] = HostResult(host=name, status="ok", changed=3, unchanged=40, seconds=12.5, round_trips=2)
    view.finish("")
    assert text.getvalue().splitlines()[:-1] == [
        name,
        "  result ok  changed 3  unchanged 40  seconds 12.5  round trips 2",
        "gone  result no answer",
    ]


def test_a_plan_that_failed_counts_no_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_at(200, monkeypatch)
    view = EngineView(("gpu-1", "gpu-2"), apply=False)
    view.results["gpu-1"] = HostResult(host="gpu-1", status="ok", changed=3, unchanged=40, seconds=12.5)
    view.results["gpu-2"] = HostResult(host="gpu-2", status="failed", seconds=1, error="no reason")
    view.finish("")
    rows = [line.split() for line in text.getvalue().splitlines()[1:3]]
    assert rows == [["gpu-1", "ok", "3", "40", "12.5"], ["gpu-2", "failed", "-", "-", "1.0"]]


def test_models_keep_their_sources_whole_on_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_at(80, monkeypatch)
    source = "hf:stable-diffusion-v1-5/stable-diffusion-v1-5/v1-5-pruned-emaonly.safetensors"
    table = models.table([("sd15", "checkpoint", "4.3 GB", "a" * 64, source, "gpu-1 gpu-2")])
    print_table(table)
    assert text.getvalue().splitlines() == [
        "sd15  kind checkpoint  size 4.3 GB",
        f"  hash {'a' * 64}",
        f"  source {source}",
        "  hosts gpu-1 gpu-2",
    ]


LONG = f"Report: /srv/{'renders of the studio/' * 6}report.html"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "show",
    [
        lambda: out.print(LONG),
        lambda: out.print(styled("[bold]{}[/]", LONG)),
        lambda: out.print(LONG, style="dim"),
        lambda: out.print(*LONG.split(" ")),
    ],
)
def test_a_line_is_never_cut_inside_a_path(
    show: Callable[[], None], terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown_at(80, monkeypatch)
    monkeypatch.setattr(out, "_force_terminal", terminal)
    show()
    assert re.sub(r"\x1b\[\d*m", "", text.getvalue()) == f"{LONG}\n"


def test_the_lines_of_verbs_are_left_whole_on_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown_at(80, monkeypatch)
    file = tmp_path / ("studio-" * 12) / "fleet.toml"
    file.parent.mkdir()
    setup.init(file)
    assert text.getvalue() == f"Wrote {file}. Edit its [hosts.*] tables, then: sdfleet check\n"
    wraps = [
        f"{file.relative_to(TREE)}:{call.lineno}"
        for file in _files()
        for call in _calls(file)
        if {"soft_wrap", "no_wrap", "crop", "width"} & {word.arg for word in call.keywords}
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "print"
    ]
    assert wraps == [], "the console alone decides what is wrapped"


def test_json_for_programs_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    Document(command=HOSTILE, exit_code=0).write()
    text = capsys.readouterr().out
    assert text.isascii() and harmless(text)
    assert json.loads(text)["command"] == HOSTILE


def test_logs_of_a_host_are_drawn(tmp_path: Path) -> None:
    from deploy import logs
    from inventory.load import load

    (tmp_path / "fleet.toml").write_text('[fleet]\nname = "x"\n[hosts.a]\naddress = "local"\n')
    journal = tmp_path / "journalctl"
    journal.write_text(f"#!/bin/sh\nprintf '%b' '{CLIPBOARD.encode('unicode_escape').decode()}[/x]\\n'\n")
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\necho loaded\n")
    for program in (journal, systemctl):
        program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path), prepend=":")
        packed = programs._packed
        patch.setattr(programs, "_packed", lambda *words: onhost.sent_with_systemd(packed(*words)))
        said = shown(out, lambda: logs.run([load(tmp_path / "fleet.toml").hosts["a"]], "webui", 1, follow=False))
    assert harmless(said) and "]52;c;" in said and "[/x]" in said


def test_the_trainers_command_draws_metadata(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    say(HOSTILE, err=True)
    said = capsys.readouterr()
    assert harmless(said.out) and harmless(said.err) and "[/x]" in said.out


def _files() -> list[Path]:
    named = [file for package in PROGRAMS for file in sorted((TREE / package).rglob("*.py"))]
    return [file for file in named if not str(file.relative_to(TREE)).startswith(ON_HOSTS)]


def _calls(file: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]


def test_everything_is_printed_in_one_place() -> None:
    """Only the console and the trainer's `say` write to the terminal, and markup is read from constants alone."""
    allowed = {
        "deploy/console.py": {"from_markup", "Console", "print"},
        "training/terminal.py": {"echo"},
        "training/run/runner.py": {"print"},  # a filtered sentence, flushed for the journal
        "training/loop/progress.py": {"print"},  # the same, with the line that it rewrites
    }
    wrong = []
    for file in _files():
        place = str(file.relative_to(TREE))
        for call in _calls(file):
            function = call.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            owner = (
                function.value.id
                if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)
                else ""
            )
            direct = name in ("print", "echo", "secho") and owner not in ("out", "err")
            reads_markup = name in ("from_markup", "Console", "escape") and owner not in ("re", "glob")
            unsafe = any(word.arg == "markup" for word in call.keywords)
            if name == "styled" and not (
                isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
            ):
                wrong.append(f"{place}:{call.lineno}: styled takes a constant")
            if (direct or reads_markup or unsafe) and name not in allowed.get(place, ()):
                wrong.append(f"{place}:{call.lineno}: {ast.unparse(call)[:60]}")
    assert wrong == []


def test_markup_stands_where_it_is_read() -> None:
    """Everywhere else it would be shown as it is written."""
    wrong = []
    for file in (file for file in _files() if file.is_relative_to(TREE / "deploy")):
        calls = _calls(file)
        reads = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "styled"]
        read = {id(node) for call in reads for node in ast.walk(call)}
        wrong += [
            f"{file.relative_to(TREE)}:{node.lineno}"
            for call in calls
            for node in ast.walk(call)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "[/]" in node.value
            if id(node) not in read
        ]
    assert wrong == []


def test_helps_keep_their_brackets() -> None:
    def texts(command: Any) -> list[str]:
        found = [command.help or "", *(getattr(param, "help", None) or "" for param in command.params)]
        return [*found, *(text for each in getattr(command, "commands", {}).values() for text in texts(each))]

    everything = [text for app in (cli.app, training_cli.app) for text in texts(typer.main.get_command(app))]
    assert len(everything) > 50
    assert [text for text in everything if Text.from_markup(text).plain != text] == []


def test_init_names_the_tables(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sdfleet", "init", str(tmp_path / "fleet.toml")],
        cwd=TREE,
        capture_output=True,
        text=True,
    )
    assert "Edit its [hosts.*] tables" in " ".join(done.stdout.split()), done.stdout + done.stderr


def test_a_long_step_says_what_is_waited_for_where_no_live_line_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.05)

    def show() -> None:
        with EngineView(("h1", "h2"), apply=True) as view:
            view.show(Started(host="h1", operation="WebUI | Run release v1.10.1"))
            view.show(HostResult(host="h2", status="ok"))
            time.sleep(0.3)

    lines = shown(out, show).splitlines()
    assert lines and all(
        re.fullmatch(r"Still waiting: h1: WebUI \| Run release v1\.10\.1, \d+ s", line) for line in lines
    )
    assert len(lines) >= 2


def test_what_prints_often_is_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.5)

    def show() -> None:
        with console.waiting("the host to draw"):
            for _ in range(8):
                time.sleep(0.1)
                out.print("a line")

    assert shown(out, show).splitlines() == ["a line"] * 8


def test_a_wait_of_one_name_tells_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.05)

    def show() -> None:
        with console.waiting("h1 to draw"):
            time.sleep(0.2)

    assert shown(out, show).startswith("Still waiting: h1 to draw, 0 s\n")


def test_a_wait_within_another_shows_nothing_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.05)

    def show() -> None:
        with console.waiting("the whole"), console.waiting("a part of it"):
            time.sleep(0.2)
        with console.waiting("the next"):
            time.sleep(0.2)

    said = shown(out, show)
    assert "the whole" in said and "a part of it" not in said and "the next" in said


def test_lines_of_a_run_are_left_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/srv/sdfleet/hub/{'models--openai--clip/' * 6}config.json"

    def show() -> None:
        monkeypatch.setattr(out, "_width", 80)
        with EngineView(("h1",), apply=True) as view:
            view.show(Log(host="", level=logging.INFO, text="[h1] Connected"))
            view.show(Log(host="h1", level=logging.INFO, text=f"config.json: link {path}"))
            view.show(Planned(host="h1", operation=f"Write {path}", change=True))
            view.show(Finished(host="h1", operation=f"Write {path}", result="changed", seconds=1))
            view.show(HostResult(host="h1", status="failed", error=f"no room for {path}"))

    assert shown(out, show).splitlines() == [
        f"h1 config.json: link {path}",
        f"h1 would Write {path}",
        f"h1 changed Write {path} 1.0 s",
        f"h1 failed: no room for {path}",
    ]


def test_a_reason_that_was_just_shown_is_not_said_again() -> None:
    why = "sdfleet-webui.service did not become ready: RuntimeError: no licence"

    def show() -> None:
        with EngineView(("h1", "h2"), apply=True) as view:
            view.show(Log(host="h1", level=logging.WARNING, text=f"a line before\n{why}"))
            view.show(HostResult(host="h1", status="failed", error=f"WebUI | Run release v1: {why}"))
            view.show(HostResult(host="h2", status="failed", error=f"WebUI | Run release v1: {why}"))

    assert shown(out, show).splitlines() == [
        "h1 a line before",
        f"h1 {why}",
        "h1 failed: WebUI | Run release v1",
        f"h2 failed: WebUI | Run release v1: {why}",
    ]


def test_the_last_line_of_a_run_counts_the_hosts_that_went_well() -> None:
    def show() -> None:
        with EngineView(("h1", "h2"), apply=True) as view:
            view.show(HostResult(host="h1", status="ok"))
            view.show(HostResult(host="h2", status="unreachable", error="no answer"))
        view.finish("Next: sdfleet verify")

    last = shown(out, show).splitlines()[-1]
    assert re.fullmatch(r"Applied 1 of 2 host\(s\) in \d\.\d s\. Fix the errors above, .*", last), last
