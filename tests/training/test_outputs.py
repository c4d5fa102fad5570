"""What a run leaves behind: files, pictures, records, TensorBoard; and how the command line behaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from tests.training.workbench import Workbench
from training import config
from training.base.loading import BaseModel
from training.cli import app
from training.data.pictures import find_pictures
from training.loop import samples
from training.lora import export
from training.run_folder import as_toml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_intermediate_files_have_kohyas_names_and_old_ones_go(bench: Workbench) -> None:
    bench.train("run", tables={"train": {"steps": 7}, "save": {"every_steps": 2, "keep": 2}})
    names = sorted(file.name for file in (bench.folder / "run" / "output").iterdir())
    assert names == ["cat-step00000004.safetensors", "cat-step00000006.safetensors", "cat.safetensors"]
    assert [event["file"] for event in bench.events("run", "saved")] == ["cat-step00000002.safetensors", *names]


def test_log_record_and_metadata_agree(bench: Workbench) -> None:
    bench.train("run", tables={"save": {"precision": "fp16"}})
    steps = bench.events("run", "step")
    assert [event["step"] for event in steps] == [1, 2, 3, 4]
    assert {"steps", "epoch", "loss", "loss_smooth", "it_per_s", "eta_s", "lr"} <= steps[0].keys()
    record = json.loads((bench.folder / "run" / "run.json").read_text())
    assert record["sha256"] == bench.digest("run") == bench.events("run", "end")[0]["sha256"]
    with safe_open(bench.file("run"), "pt") as file:
        notes = file.metadata()
        assert str(file.get_tensor(next(iter(file.keys()))).dtype) == "torch.float16"
    assert notes["ss_network_dim"] == "2"
    assert notes["ss_base_model_version"] == "sd_v1"
    assert notes["ss_num_train_images"] == "12"
    assert json.loads(notes["ss_tag_frequency"])["2_cat"]["a cat"] == 6
    assert len(notes["sshs_model_hash"]) == 64


@pytest.mark.parametrize(
    ("family", "skip", "noted"), [("sd1", 3, "3"), ("sdxl", 3, "None"), ("sdxl", 2, "2"), ("sdxl", 1, "None")]
)
def test_metadata_names_a_clip_skip_where_it_counts(bench: Workbench, family: str, skip: int, noted: str) -> None:
    found = bench.config(family, {"model": {"clip_skip": skip}})
    notes = export.lora_metadata(found, BaseModel(found.model), find_pictures(found.data), "0" * 64, 1, 1)
    assert notes["ss_clip_skip"] == noted


def test_samples_are_pictures_of_the_asked_size_and_follow_the_training(bench: Workbench) -> None:
    prompts = ["a cat --w 64 --h 96 --s 3 --d 5 --l 3", "a dog --n grass --s 2"]
    bench.train(
        "run",
        tables={
            "sample": {"prompts": prompts, "every_steps": 2, "at_first": True},
            "optimizer": {"learning_rate": 0.05},
            "schedule": {"kind": "constant"},
        },
    )
    files = sorted((bench.folder / "run" / "samples").iterdir())
    assert [file.name for file in files] == [f"cat-{step:08d}-{n:02d}.png" for step in (0, 2, 4) for n in (0, 1)]
    assert Image.open(files[0]).size == (64, 96)
    assert Image.open(files[1]).size == (64, 64)
    assert files[0].read_bytes() != files[4].read_bytes()


@pytest.mark.parametrize("sampler", samples.SAMPLERS)
def test_every_sampler_draws(bench: Workbench, sampler: str) -> None:
    sample = {"prompts": ["a cat --s 3"], "every_steps": 1, "sampler": sampler}
    bench.train("run", tables={"sample": sample, "train": {"steps": 1}})
    picture = Image.open(next((bench.folder / "run" / "samples").iterdir()))
    assert len(set(picture.convert("L").tobytes())) > 1


def test_looking_does_not_touch_what_is_trained(bench: Workbench) -> None:
    held = {"validation": {"share": 0.2, "every_steps": 2}}
    bench.train("blind", tables={"validation": {"share": 0.2}})
    sample = {"prompts": ["a cat --s 2"], "every_steps": 1, "sampler": "euler_a"}
    bench.train("looking", tables={**held, "sample": sample})
    assert bench.digest("blind") == bench.digest("looking")
    losses = [event["loss"] for event in bench.events("looking", "validation")]
    assert len(losses) == 3
    assert len(set(losses)) == 3


def test_a_folder_of_pictures_is_held_back(bench: Workbench) -> None:
    """Plain pictures, not N_name folders; they are measured alike at every step, and stand in the record."""
    held = bench.folder / "held"
    shutil.copytree(bench.materials / "pictures" / "2_cat", held)
    tables = {
        "validation": {"folder": str(held), "every_steps": 2},
        "data": {"captions": {"shuffle": True, "dropout": 0.5}},
        "optimizer": {"learning_rate": 1e-12},
    }
    bench.train("run", tables=tables)
    losses = [event["loss"] for event in bench.events("run", "validation")]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)
    inputs = json.loads((bench.folder / "run" / "run.json").read_text())["inputs"]
    assert str(held / "0.png") in inputs


def test_tensorboard_events_are_written(bench: Workbench) -> None:
    bench.train("run", tables={"log": {"tensorboard": True}})
    assert list((bench.folder / "run" / "tensorboard").glob("events.out.*"))


def test_config_survives_a_round_trip(bench: Workbench) -> None:
    ours = bench.config(tables={"network": {"ranks": {"down_blocks.0": 4}}})
    file = bench.folder / "again.toml"
    file.write_text(as_toml(ours))
    assert config.load_config(file) == ours


def test_check_needs_no_torch(bench: Workbench) -> None:
    file = bench.folder / "my.toml"
    file.write_text(as_toml(bench.config()))
    code = (
        "import sys; from training.cli import app\n"
        f"app(['check', {str(file)!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "cat: 6 pictures, 12 shown an epoch in 6 batches; sizes 48x80, 64x64, 80x48\n"


def test_command_line_exit_codes(bench: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
    file = bench.folder / "bad.toml"
    file.write_text('name = "x"\n[model]\n[data]\nfolder = "y"\n')
    with pytest.raises(SystemExit) as caught:
        app(["run", str(file), "--run", str(bench.folder / "run")])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {file}: model.checkpoint: is required")


def test_sigterm_writes_a_checkpoint_and_exits_0(bench: Workbench) -> None:
    file = bench.folder / "my.toml"
    file.write_text(as_toml(bench.config(tables={"train": {"steps": 10000}})))
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from training.cli import run; run()",
            "run",
            str(file),
            "--run",
            str(bench.folder / "r"),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    log = bench.folder / "r" / "log.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (log.exists() and '"step"' in log.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"stopped; go on with: lora-train run {bench.folder / 'r' / 'config.toml'} --run {bench.folder / 'r'}" in out
    assert list((bench.folder / "r" / "checkpoint").glob("step-*.pt"))
    assert bench.events("r", "stopped")
