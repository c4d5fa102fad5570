"""Run any trainer for a number of optimiser steps: python watch.py RESULT STEPS PROGRAM [ARGUMENT...]

Uses torch's hook after each step of any optimiser. The first steps count as start-up; the clock is read after the card
has finished.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


def watch(result: Path, steps: int) -> None:
    """Measure `steps` steps, write the result, and end the process."""
    born, skipped = float(os.environ["BORN"]), max(1, steps // 4)
    times: list[float] = []

    def told(*_: Any) -> None:
        if len(times) + 1 in (1, skipped, steps) and torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.monotonic() - born)
        if len(times) < steps:
            return
        speed = (steps - skipped) / (times[-1] - times[skipped - 1])
        peak = torch.cuda.max_memory_allocated() >> 20 if torch.cuda.is_available() else 0
        result.write_text(json.dumps({"first": times[0], "it_s": speed, "peak_mb": peak}))
        os._exit(0)

    register_optimizer_step_post_hook(told)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), int(sys.argv[2]))
    program = sys.argv[3]
    sys.argv = sys.argv[3:]
    sys.path[0] = str(Path(program).resolve().parent)
    runpy.run_path(program, run_name="__main__")
