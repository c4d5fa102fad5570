"""Every known failure, as the journal of a real host shows it, is recognised, and nothing else is."""

import re
from pathlib import Path

import pytest

from deploy.doctor.failures import FAILURES, Failure, recognise

WHEN = "2026-06-14T21:08:11+0200 gpu-1"

JOURNAL = (Path(__file__).parent / "journal.txt").read_text()
LINES = dict(re.findall(r"^# (.*)\n(.*)\n", JOURNAL, re.M))
"""Name of a failure -> the line that it leaves."""

ALSO_REAL = (
    ("kernel: NVRM: API mismatch: the client 'kwin_wayland' (pid 1005)", "homelab#4110"),
    ("kernel: NVRM: API mismatch: the client has the version 535.54.03, but", "homelab#4110"),
)
"""Other forms of a line, from public threads, and where their failure was reported."""

HARMLESS = (
    "python[812]: No module 'xformers'. Proceeding without it.",
    "python[812]: Startup time: 9.3s (prepare environment: 0.1s, import torch: 2.9s).",
    "kernel: NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build",
    "python[812]: Model loaded in 3.1s (load weights from disk: 0.6s, apply weights to model: 2.1s).",
    'uvicorn[9]: 127.0.0.1:42944 - "GET /sdapi/v1/options HTTP/1.1" 200 OK',
    "sshd[429]: Server listening on 0.0.0.0 port 22.",
)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_recognised_by_its_line_and_no_other(failure: Failure) -> None:
    name = failure.name
    found = recognise([LINES[name]])
    assert [known.name for known in found] == [name]


def test_every_line_belongs_to_a_failure() -> None:
    assert LINES.keys() == {failure.name for failure in FAILURES}


@pytest.mark.parametrize(("line", "seen"), ALSO_REAL)
def test_other_forms_of_the_line_are_recognised(line: str, seen: str) -> None:
    assert [failure.seen for failure in recognise([f"{WHEN} {line}"])] == [seen]


def test_everyday_lines_are_no_failures() -> None:
    assert recognise(f"{WHEN} {line}" for line in HARMLESS) == {}


def test_the_last_line_is_shown() -> None:
    first, last = "a: [Errno 28] No space left on device", "b: [Errno 28] No space left on device"
    assert list(recognise([first, last]).values()) == [last]


def test_cures_are_sentences() -> None:
    for failure in FAILURES:
        assert re.fullmatch(r"[A-Z].+\.", failure.cure), failure.cure
