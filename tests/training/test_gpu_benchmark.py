"""benchmarks/gpu.py with small models on a CPU: every part, and one that fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--tiny", "--seconds", "1200", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1500, cwd=ROOT)


def test_every_part_ends_in_a_result(tmp_path: Path) -> None:
    kohya = tmp_path / "kohya"
    kohya.mkdir()
    (kohya / "train_network.py").write_text("raise SystemExit('this checkout is broken')\n")
    parts = "repeat,resume,capture,precision,sd15,sdxl,repeat-sdxl,resume-sdxl,capture-sdxl"
    done = bench("--only", parts, "--kohya", str(kohya))
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    for kind in ("repeat", "resume after a kill"):
        for half in ("bf16", "fp16"):
            assert said.count(f"{kind}, {half}: equal, sha256 ") == 2  # SD 1.5's and SDXL's
    assert said.count("captured against eager: not compared (not captured: CUDA graphs need an NVIDIA GPU)") == 2
    assert "fp16: last ten losses" in said and "bf16: last ten losses" in said
    for row in ("bare loop, eager", "lora-train", "lora-train, not deterministic", "lora-train, not captured"):
        for batch in (1, 4):
            assert said.count(f"batch {batch}: {row}  ") >= 2
    # What cannot be measured says so, and the others go on.
    assert said.count("batch 1: bare loop, captured") == 2 and "needs a GPU" in said
    assert "this checkout is broken" in said
    # Files must be equal on any machine; speed is not compared on a CPU.
    assert said.count("  equal    equal  met") == 8
    assert said.count("not measured (not captured: CUDA graphs need an NVIDIA GPU)") == 4
    assert "8 met, 0 missed, 18 not measured" in said
    assert said.strip().splitlines()[-1].startswith("9 parts in ")


def test_a_machine_without_a_card_is_told_in_one_sentence() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=ROOT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: torch ") and "finds no NVIDIA GPU here" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_part_that_fails_says_so_and_the_code_tells(tmp_path: Path) -> None:
    done = bench("--only", "tests")
    assert done.returncode == 1
    assert "tests failed with exit code 1" in done.stdout
    assert bench("--only", "warp").returncode == 2


def test_the_suite_says_how_many_tests_need_a_card() -> None:
    """The last line of `make test`."""
    done = subprocess.run(["make", "-s", "left-out"], capture_output=True, text=True, cwd=ROOT, timeout=600)
    count = (ROOT / "tests/training/test_gpu.py").read_text().count("\ndef test_")
    number, _, rest = done.stdout.partition(" ")
    assert int(number) >= count and rest == "tests were left out: they need an NVIDIA GPU; run: make gpu\n"
