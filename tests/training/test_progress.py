"""What a run reports while it goes on."""

import subprocess
import sys


def test_the_memory_of_the_program_that_started_a_run_is_not_counted() -> None:
    held = b"x" * 2**30
    program = "from training.loop.progress import peak_memory_mb; print(peak_memory_mb())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert 0 < int(told) < len(held) >> 20
