"""Every known failure, as the journal of a real host shows it, is recognised, and nothing else is."""

import re
from pathlib import Path

import pytest

from deploy.doctor.failures import FAILURES, Failure, recognise

WHEN = "2026-06-14T21:08:11+0200 gpu-1"

JOURNAL = (Path(__file__).parent / "journal.txt").read_text()
LINES = dict(re.findall(r"^# (.*)\n(.*)\n", JOURNAL, re.M))
"""Name of a failure -> the line that it leaves."""

ROWS = {
    "A1111#17213": "a repository of the WebUI is gone",
    "A1111#17293": "setuptools is too new for an old setup.py",
    "vast-ai/base-image": "a package was built in isolation, with the newest setuptools",
    "A1111#16352": "this Python has no such torch",
    "A1111#16972": "torch is too old for the card",
    "A1111#17235": "torch has no code for the card",
    "A1111#783": "torch sees no GPU",
    "forge#2053": "the driver is too old for torch",
    "kohya_ss#3139": "xformers does not match torch",
    "lora-scripts#135": "bitsandbytes does not match CUDA or glibc",
    "lora-scripts#639": "the CLIP tokenizer is missing",
    "hf-mirror-site#31": "the Hugging Face mirror does not say how long files are",
    "hf-mirror-site#50": "a Xet transfer went around the mirror",
    "huggingface_hub#3377": "the hub or a mirror asks to slow down",
    "go-cqhttp#2492": "a GitHub mirror is dead",
    "lora-scripts#118": "submodules of lora-scripts are empty",
    "A1111#9093": "the WebUI was started as root",
    "A1111#2669": "the Python environment is half made",
    "runpod/containers#8": "a library of the desktop is missing",
    "A1111#14883": "memory ran out and the kernel killed a process",
    "A1111#13840": "httpx is too new for gradio 3",
    "homelab#4110": "kernel module and programs of the driver differ",
    "open-gpu-kernel-modules#872": "the card needs the open kernel modules",
    "dstack#2348": "the GPUs wait for the fabric manager",
    "civitai#975": "a model file is a web page or half a file",
}
"""Where people reported a failure -> the failure that must be known."""

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


def test_what_people_reported_is_known() -> None:
    known = {(failure.seen, failure.name) for failure in FAILURES}
    assert set(ROWS.items()) - known == set()


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
