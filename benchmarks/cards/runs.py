"""Several trainings in one process, so that torch is imported once: python runs.py JOB...    JOB: CONFIG=RUNFOLDER

A failure is printed on standard error; the others continue. Each starts with empty GPU memory.
"""

import gc
import json
import os
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from training.config import load_config
from training.run.runner import train_in
from training.signals import Stop


def main(jobs: list[str]) -> None:
    import torch

    failed = False
    # The first run includes the start of the process, with the import of torch.
    began = time.time() - (time.monotonic() - float(os.environ.get("BORN", time.monotonic())))
    for job in jobs:
        config, _, run = job.partition("=")
        try:
            train_in(load_config(Path(config)), Path(run), Stop())
        except Exception:
            failed = True
            traceback.print_exc()
        gc.collect()
        peak = 0
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() >> 20
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if Path(run).is_dir():
            (Path(run) / "measured.json").write_text(json.dumps({"began": began, "peak_mb": peak}))
        began = time.time()
    sys.exit(failed)


if __name__ == "__main__":
    main(sys.argv[1:])
