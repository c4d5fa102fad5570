"""Questions of several roles, asked in one command: the answers must be those that each command gives alone."""

import subprocess

import pytest
from pyinfra.connectors.util import CommandOutput, OutputLine

from deploy.asking import answers, script

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
