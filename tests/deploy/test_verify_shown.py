"""What `sdfleet verify` prints, read on a terminal of 80 columns and in a pipe."""

import ast
import io
import re
import time
from pathlib import Path

import pytest

from deploy import console
from deploy.connection.ssh import HostError
from deploy.console import err, out
from deploy.verification import plugin, verify

TREE = Path(__file__).resolve().parents[2]
LOST = "gpu-3 (root@203.0.113.12:22): cannot be reached: No route to host; check that the host is up"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Both streams, as a terminal of 80 columns shows them."""
    file = io.StringIO()
    for terminal in (out, err):
        monkeypatch.setattr(terminal, "_file", file)
        monkeypatch.setattr(terminal, "_width", 80)
    return file


def verdict(*failures: tuple[str, str, str]) -> verify.Verdict:
    """80 good checks, and these: role, name of the check, reason."""
    made = verify.Verdict(good=80, skipped=3, seconds=12.3)
    for role, check, reason in failures:
        made.count({"outcome": "failed", "role": role, "check": check, "reason": reason, "seconds": 0.1})
    return made


def test_a_failure_says_what_is_wrong_first_and_then_which_check_found_it(shown: io.StringIO) -> None:
    drifted = verdict(("webui", "test_unit_is_active", "sdfleet-webui.service is failed"))
    verify._report({"gpu-1": verdict(), "gpu-2": drifted, "gpu-3": verify.Verdict(unreachable=HostError(LOST))}, 21.3)
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    assert lines == [
        "host   result        good  bad  skipped  seconds",
        "gpu-1  as described    80    0        3     12.3",
        "gpu-2  drift           80    1        3     12.4",
        "gpu-3  unreachable      0    0        0      0.0",
        "gpu-2 drift webui: sdfleet-webui.service is failed (check: unit is active)",
        f"unreachable {LOST}",
        "Verified 2 of 3 host(s) in 21.3 s. Next: sdfleet apply --limit gpu-2",
    ]


def test_no_cell_is_cut_however_long_a_hosts_name_is(shown: io.StringIO) -> None:
    name = "gpu-" + "a" * 60
    verify._report({name: verdict()}, 1)
    assert "…" not in shown.getvalue() and name in shown.getvalue()
    assert max(map(len, shown.getvalue().splitlines())) <= 80


def test_of_a_long_command_that_failed_only_the_beginning_is_shown() -> None:
    script = "sh -c '# Tells everything" + "\\nsay kernel" * 500
    result = f"CommandResult(backend=x, exit_status=127, command=b\"{script}\", _stdout=b'', _stderr=b'not found')"
    said = plugin._first_line(f"AssertionError: Unexpected exit code 127 for {result}")
    assert said.startswith("`sh -c '# Tells everything say kernel say") and len(said) < 200, said
    assert said.endswith("...` ended with status 127: not found")


def test_a_pipe_is_told_how_far_the_checks_are(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "QUIET_SECONDS", 0.1)
    with verify._shown({"gpu-1": verdict(), "gpu-2": verify.Verdict()}):
        time.sleep(0.3)
    assert shown.getvalue().startswith("Still waiting: gpu-1: 83 checks done; gpu-2: 0 checks done\n")


@pytest.mark.parametrize("file", sorted(TREE.glob("roles/*/verify.py")), ids=lambda file: file.parent.name)
def test_every_check_says_in_words_what_is_wrong(file: Path) -> None:
    """Without a message a person would read the false comparison."""
    for test in ast.walk(ast.parse(file.read_text())):
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            bare = [node.lineno for node in ast.walk(test) if isinstance(node, ast.Assert) and node.msg is None]
            assert not bare, f"{test.name}: no message in line(s) {bare}"


@pytest.mark.parametrize("file", sorted(TREE.glob("roles/*/verify.py")), ids=lambda file: file.parent.name)
def test_no_check_is_named_with_a_genitive_which_would_lose_its_apostrophe(file: Path) -> None:
    """`verify` prints names as words: "mirrors in use are the fleets" says something else."""
    owners = "autodl|cache|comfyui|fleet|host|root|sdfleet|site|user|webui"
    assert re.findall(rf"def (test_(?:\w+_)?(?:{owners})s(?:_\w+)?)\(", file.read_text()) == []
