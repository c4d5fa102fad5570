"""A child process that answers without end, or does not read what it is given."""

import subprocess
import sys
import threading
import time
from typing import IO

import pytest

from deploy.connection import exchange as module
from deploy.connection.exchange import TooMuchError, exchange


def test_what_it_says_is_returned() -> None:
    answered = exchange(["sh", "-c", "cat; echo no >&2; exit 3"], b"x" * 300_000, 20, 300_000)
    assert answered == (3, b"x" * 300_000, b"no\n")


@pytest.mark.parametrize("command", [["true"], ["sh", "-c", "exec cat /dev/zero"], ["sleep", "60"]])
def test_input_that_is_not_read_is_no_error_even_if_it_is_sent_late(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = module._feed, []

    def late(stream: IO[bytes], content: bytes) -> None:
        stream.write(content)  # it is in the stream's buffer
        time.sleep(0.3)
        real(stream, b"")

    monkeypatch.setattr(module, "_feed", late)
    monkeypatch.setattr(threading, "excepthook", lambda failed: broken.append(failed.exc_value))
    before = threading.active_count()
    if command == ["true"]:
        assert exchange(command, b"x" * 3000, 20, 1000) == (0, b"", b"")
    else:
        with pytest.raises((TooMuchError, subprocess.TimeoutExpired)):
            exchange(command, b"x" * 3000, 0.1 if "sleep" in command else 20, 1000)
    assert threading.active_count() == before and broken == []


def test_a_process_that_outlives_its_parent_and_keeps_the_input_is_not_waited_for() -> None:
    orphan = "import os, time\nif os.fork() == 0:\n os.close(1); os.close(2); time.sleep(5)"
    began = time.monotonic()
    assert exchange([sys.executable, "-c", orphan], b"x" * 300_000, 20, 1000)[0] == 0
    assert time.monotonic() - began < 4
