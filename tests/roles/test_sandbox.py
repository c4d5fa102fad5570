"""What is tried before it serves cannot fill the controller's memory with what it prints."""

import subprocess

import pytest

from roles.operations.sandbox import TOLD, bounded


def run(command: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["sh", "-c", f"true && {bounded(command)}"], capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("status", [0, 1, 3])
def test_status_and_words_go_through(status: int) -> None:
    done = run(f"sh -c 'echo words; echo more >&2; exit {status}'")
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"words\nmore\n")


def test_what_prints_without_end_is_ended() -> None:
    done = run("yes")
    assert done.returncode != 0 and len(done.stderr) == TOLD and done.stdout == b""
