"""Run a program whose optimiser steps can be timed and paused, so that several trainers take turns on one machine.

python lockstep.py READ WRITE SETTINGS PROGRAM [ARGUMENT...]     PROGRAM: a file, or MODULE:FUNCTION

After each optimiser step (of any torch optimiser, by torch's own hook) the step's seconds are written to the file
descriptor WRITE, and the program waits for a byte from READ. SETTINGS is JSON: {"module": {"NAME": value}}, set before
the program runs.
"""

import importlib
import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any


def watch(read: int, write: int) -> None:
    """Report every optimiser step and wait for permission to continue."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    began = time.monotonic()

    def told(*_: Any) -> None:
        nonlocal began
        os.write(write, f"{time.monotonic() - began}\n".encode())
        if not os.read(read, 1):
            os._exit(0)
        began = time.monotonic()

    register_optimizer_step_post_hook(told)


def main() -> None:
    """Watch, set, run."""
    read, write, settings, program, *arguments = sys.argv[1:]
    watch(int(read), int(write))
    sys.argv = [program, *arguments]
    sys.path[0] = str(Path(program).parent if program.endswith(".py") else Path.cwd())
    for module, values in json.loads(settings).items():
        for name, value in values.items():
            setattr(importlib.import_module(module), name, value)
    if program.endswith(".py"):
        runpy.run_path(program, run_name="__main__")
    else:
        module, function = program.split(":")
        getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main()
