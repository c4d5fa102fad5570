"""Questions of several roles, asked in one command: the answers must be those that each command gives alone."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyinfra.connectors.util import CommandOutput, OutputLine

from deploy.engine.questions import Memory, answers, script

pytestmark = pytest.mark.slow

TREE = Path(__file__).resolve().parents[2]
MARK = "0123456789abcdef"
COMMANDS = {
    "a line": "echo one",
    "lines with an empty one between": "printf 'a\\n\\nb\\n'",
    "an empty line last": "printf 'a\\n\\n'",
    "only an empty line": "echo",
    "no line break at the end": "printf unfinished",
    "nothing": "true",
    "a failure with a word": "echo out; echo wrong >&2; exit 3",
    "quotes": """printf '%s\\n' "it's" '"quoted"' '$HOME'""",
    "a syntax error": "if then (",
    "one that would read the script": "cat",
    "one that leaves its shell": "cd / && set -e && exec sh -c 'echo far; exit 4'",
    "one that prints the mark": f"echo {MARK}",
}


def _alone(command: str) -> tuple[int, list[str], list[str]]:
    done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def _together(commands: list[str]) -> list[tuple[int, list[str], list[str]]]:
    text = script(commands, MARK)
    done = subprocess.run(["sh", "-s"], input=text, capture_output=True, text=True, check=False)
    lines = [OutputLine("stdout", line) for line in done.stdout.splitlines()]
    output = CommandOutput([*lines, *(OutputLine("stderr", line) for line in done.stderr.splitlines())])
    return [
        (status, [one.line for one in found if one.buffer_name == "stdout"], CommandOutput(found).stderr_lines)
        for status, found in answers(output, MARK)
    ]


@pytest.mark.parametrize("case", COMMANDS)
def test_an_answer_is_the_same_as_alone(case: str) -> None:
    between = _together(["echo before", COMMANDS[case], "echo after"])
    assert between == [(0, ["before"], []), _alone(COMMANDS[case]), (0, ["after"], [])]


def test_what_a_broken_connection_left_out_has_no_answer() -> None:
    whole = script(["echo one", "echo two"], MARK)
    cut = "\n".join(whole.splitlines()[:1]) + "\necho half; kill -9 $$\n"
    done = subprocess.run(["sh", "-s"], input=cut, capture_output=True, text=True, check=False)
    output = CommandOutput(
        [OutputLine("stdout", line) for line in done.stdout.splitlines()]
        + [OutputLine("stderr", line) for line in done.stderr.splitlines()]
    )
    assert [status for status, _ in answers(output, MARK)] == [0]


def test_a_memory_is_for_its_owner_alone_and_never_fails(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "state", "fleet.toml", "gpu-1")
    assert memory.commands() == []
    memory.write(["echo one", "echo two"])
    assert Memory(tmp_path / "state", "fleet.toml", "gpu-1").commands() == ["echo one", "echo two"]
    assert Memory(tmp_path / "state", "fleet.toml", "gpu-2").commands() == []
    assert stat.S_IMODE(memory.file.stat().st_mode) == 0o600
    for damage in (b"", b"[", b'{"a": 1}', b"\xff\xfe", b"[" * 100_000):
        memory.file.write_bytes(damage)
        assert memory.commands() == []
    memory.file.write_text('["echo one", 3, null]')
    assert memory.commands() == ["echo one"]
    (tmp_path / "file").touch()
    Memory(tmp_path / "file", "x").write(["echo"])


CONNECTOR = """
from gevent import monkey
monkey.patch_all()
import json, subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.hiddenvalue import HiddenValue
from pyinfra.connectors.util import CommandOutput, OutputLine
from deploy.engine.connector import HostConnector
from deploy.engine.questions import Memory, Questions

folder, steps, broken = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3] == "broken"
sent = []

def send(command, _stdin=None, **options):
    text = command.get_raw_value() if isinstance(command, StringCommand) else command
    sent.append("all" if _stdin else text)
    if broken and _stdin:
        return False, CommandOutput([OutputLine("stderr", "sudo: a password is required")])
    done = subprocess.run(["sh", "-c", text], input="".join(_stdin or []), capture_output=True, text=True)
    good = options.get("_success_exit_codes") or (0,)
    return done.returncode in good, CommandOutput([OutputLine("stdout", line) for line in done.stdout.splitlines()]
        + [OutputLine("stderr", line) for line in done.stderr.splitlines()])

class Connector(HostConnector):
    def __init__(self, memory):
        self.state, self._questions, self._send = SimpleNamespace(is_executing=False), Questions(memory), told

def told(command, print_output=False, print_input=False, **options):
    return send(command, **options)

connector = Connector(Memory(folder, "host"))
found = []
for step in steps:
    if step == "apply":
        connector.state.is_executing = True
        continue
    command = StringCommand("echo", HiddenValue("secret")) if step == "hidden" else step.get("run")
    options = {"_sudo": False, **({} if step == "hidden" else step.get("options", {}))}
    success, output = connector.run_shell_command(command, **options)
    found.append([success, output.stdout_lines])
connector._questions.remember()
print(json.dumps({"sent": sent, "found": found, "kept": [json.loads(f.read_text()) for f in folder.glob("*")]}))
"""


def _run(folder: Path, *steps: object, broken: bool = False) -> SimpleNamespace:
    """What was sent, found and kept by a connector that is asked `steps` in turn."""
    given = [step if isinstance(step, dict) or step in ("apply", "hidden") else {"run": step} for step in steps]
    command = [sys.executable, "-c", CONNECTOR, str(folder), json.dumps(given), "broken" if broken else ""]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(**json.loads(done.stdout))


def test_what_the_last_run_asked_is_asked_at_once(tmp_path: Path) -> None:
    steps = ("echo one", "exit 3", "echo one", "printf 'a\\n\\nb'")
    first = _run(tmp_path, *steps)
    assert first.sent == ["echo one", "exit 3", "printf 'a\\n\\nb'"]
    second = _run(tmp_path, *steps)
    assert second.sent == ["all"]
    assert second.found == first.found == [[True, ["one"]], [False, []], [True, ["one"]], [True, ["a", "", "b"]]]


def test_a_new_question_goes_by_itself_and_an_old_one_is_dropped(tmp_path: Path) -> None:
    _run(tmp_path, "echo one", "echo old")
    seen = _run(tmp_path, "echo one", "echo new")
    assert seen.sent == ["all", "echo new"]
    assert seen.kept == [["echo one", "echo new"]]


def test_exit_codes_count_as_each_question_says(tmp_path: Path) -> None:
    steps = ("true", {"run": "exit 3", "options": {"_success_exit_codes": [0, 3]}})
    assert _run(tmp_path, *steps).found == _run(tmp_path, *steps).found == [[True, []], [True, []]]


def test_an_operation_that_changes_nothing_asks_nothing_again(tmp_path: Path) -> None:
    count = f"echo x >>{tmp_path}-count; wc -l <{tmp_path}-count"
    seen = _run(tmp_path, "true", count, "apply", count, "true", count)
    assert seen.sent == ["true", count]
    assert [lines for _, lines in seen.found] == [[], ["1"], ["1"], [], ["1"]]
    assert seen.kept == [["true", count]]


@pytest.mark.parametrize(
    "change",
    [
        {"run": "true # changes something"},
        {"run": "true", "options": {"_stdin": ["text"]}},
        {"run": "true", "options": {"_sudo_user": "daemon"}},
        "hidden",
    ],
)
def test_after_a_change_nothing_is_answered_from_before(tmp_path: Path, change: object) -> None:
    count = f"echo x >>{tmp_path}-count; wc -l <{tmp_path}-count"
    _run(tmp_path, "true", count)
    seen = _run(tmp_path, "true", count, "apply", change, "true", count)
    assert seen.sent[0] == "all" and seen.sent[2:] == ["true", count] and len(seen.sent) == 4
    assert seen.found[-1] == [True, ["3"]]
    assert seen.kept == [["true", count]], "what an operation asks is not asked while preparing"


def test_another_user_s_questions_and_secrets_go_by_themselves(tmp_path: Path) -> None:
    other = {"run": "echo two", "options": {"_sudo_user": "daemon"}}
    _run(tmp_path, "echo one", other, "hidden")
    seen = _run(tmp_path, "echo one", other, "hidden")
    assert seen.sent == ["echo one", "echo two", "echo secret"]
    assert seen.kept == [["echo one"]]


def test_a_wrong_memory_costs_time_and_nothing_else(tmp_path: Path) -> None:
    steps = ("echo one", "echo two")
    right = _run(tmp_path, *steps).found
    [file] = tmp_path.glob("*")
    file.write_text(json.dumps(["if then (", "exit 9", "kill -9 $PPID", "echo two"]))
    seen = _run(tmp_path, *steps)
    assert seen.found == right
    assert seen.kept == [list(steps)]


def test_an_answer_that_never_came_is_asked_for_again(tmp_path: Path) -> None:
    _run(tmp_path, "echo one", "echo two")
    seen = _run(tmp_path, "echo one", "echo two", broken=True)
    assert seen.sent == ["all", "echo one", "echo two"]
    assert seen.found == [[True, ["one"]], [True, ["two"]]]
