"""The trainer on a GPU: reproducibility, accuracy in half precision, and speed.

python benchmarks/gpu.py [--only repeat,sd15] [--seconds 300] [--tiny] [--work FOLDER]
    [--kohya FOLDER --kohya-python PYTHON] [--diffusers FOLDER --diffusers-python PYTHON]

Needs no network: the models have the real shapes (SD 1.5, SDXL) and random weights. Parts: tests (marker gpu); repeat,
resume, capture (against eager) and precision (losses over 60 steps) with SD 1.5; repeat-sdxl, resume-sdxl and
capture-sdxl; and the tables sd15 and sdxl. A failing part does not stop the others. Peers are your own checkouts.
--tiny uses small models, which also run on a CPU.

The last table compares the measurements with the targets. Exit code 1 if a part failed or a target was missed.
"""

import argparse
import importlib.util
import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cards import targets
from benchmarks.cards.parts import Parts
from benchmarks.cards.workshop import Failed, NoTime, Workshop


def main() -> None:
    """Run the parts and print their results at the end."""
    options = _options()
    if not options.tiny and (missing := _no_gpu()):
        sys.exit(f"error: {missing}")
    began, failed = time.monotonic(), False
    with tempfile.TemporaryDirectory(prefix="sdfleet-gpu-", ignore_cleanup_errors=True) as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        parts = Parts(Workshop(folder, options.seconds, tiny=options.tiny), options)
        known = parts.by_name()
        report: list[str] = []
        for name in options.only:
            print(f"{time.monotonic() - began:6.0f} s: {name}", file=sys.stderr, flush=True)
            try:
                lines = known[name]()
            except NoTime as error:
                lines = [str(error)]
                parts.measured.unmeasured[name] = "no time left"
            except Failed as error:
                failed, lines = True, str(error).splitlines()
                parts.measured.unmeasured[name] = f"{name} failed"
            except Exception:
                failed, lines = True, traceback.format_exc().splitlines()
                parts.measured.unmeasured[name] = f"{name} failed"
            report += ["", f"{name}:", *(f"  {line}" for line in lines)]
    rows = list(targets.rows(parts.measured, tiny=options.tiny))
    print(_machine())
    print("\n".join(report))
    print("\n".join(["", "targets:", *(f"  {line}" for line in targets.table(rows))]))
    print(f"\n{len(options.only)} parts in {time.monotonic() - began:.0f} s")
    sys.exit(failed or any(row.verdict == targets.MISSED for row in rows))


def _no_gpu() -> str:
    """Why nothing can be measured on this machine; empty if it has an NVIDIA GPU."""
    import torch

    if torch.cuda.is_available():
        return ""
    return (
        f"torch {torch.__version__} finds no NVIDIA GPU here, so there is nothing to measure; check the driver "
        "(nvidia-smi) and that torch was built for CUDA; --tiny runs every part with small models on a CPU"
    )


def _machine() -> str:
    import torch

    versions = [f"torch {torch.__version__}"]
    for name in ("diffusers", "transformers", "peft"):
        if importlib.util.find_spec(name):
            versions.append(f"{name} {importlib.import_module(name).__version__}")
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    where = [time.strftime("%Y-%m-%d"), card, f"{os.cpu_count()} CPU cores", f"Python {platform.python_version()}"]
    return ", ".join([*where, *versions])


def _options() -> argparse.Namespace:
    names = list(Parts.__new__(Parts).by_name())
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=lambda text: text.split(","), default=names, help=f"parts: {','.join(names)}")
    parser.add_argument("--seconds", type=float, default=300, help="time limit for all parts together (default: 300)")
    parser.add_argument("--tiny", action="store_true", help="small models and pictures, for a CPU")
    parser.add_argument("--compile", action="store_true", help="also measure train.compile, which takes minutes")
    parser.add_argument("--work", type=Path, help="keep models, runs and logs in this folder and reuse them")
    for peer in ("kohya", "diffusers"):
        parser.add_argument(f"--{peer}", type=Path, metavar="FOLDER", help=f"checkout of {peer}")
        parser.add_argument(f"--{peer}-python", default=sys.executable, metavar="PYTHON")
    options = parser.parse_args()
    if unknown := [name for name in options.only if name not in names]:
        parser.error(f"--only: no part {', '.join(unknown)}; there are {', '.join(names)}")
    return options


if __name__ == "__main__":
    main()
