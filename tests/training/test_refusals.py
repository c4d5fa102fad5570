"""Broken inputs: one clear sentence each, exit code 2, and nothing under a final name."""

import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.training import tiny
from tests.training.workbench import Workbench
from training import config
from training.cli import app
from training.errors import InputError, TrainingError
from training.loop import checkpoint, recipe
from training.run import record_format
from training.run_folder import as_toml

pytestmark = pytest.mark.slow

Tables = Mapping[str, Any]


CONFIGS: list[tuple[Tables, str]] = [
    ({"network": {"rank": 0}}, "network.rank: input should be greater than or equal to 1 (is 0)"),
    ({"network": {"rnak": 4}}, "network.rnak: unknown setting (did you mean rank?)"),
    ({"network": {"kind": "lora3"}}, "network.kind: input should be 'lora', 'locon', 'dora', 'loha' or 'lokr'"),
    ({"network": {"unet": False}}, "network: nothing to train: set unet or text_encoder to true"),
    ({"network": {"rank_from_start": True}}, "network: rank_from_start needs start_from"),
    ({"name": "a/b"}, "name: must not contain /"),
    ({"trian": {"steps": 3}}, "trian: unknown setting (did you mean train?)"),
    ({"train": {"steps": 3, "epochs": 1}}, "train: give epochs or steps, not both"),
    ({"train": {"batch_size": 0}}, "train.batch_size: input should be greater than or equal to 1"),
    ({"train": {"precision": "fp8"}}, "train.precision: input should be 'auto', 'fp32', 'fp16' or 'bf16' (is 'fp8')"),
    ({"optimizer": {"kind": "Adam"}}, "optimizer.kind: input should be"),
    ({"optimizer": {"learning_rate": -1}}, "optimizer.learning_rate: input should be greater than 0 (is -1)"),
    ({"train": {"full_precision": False, "precision": "fp16"}}, 'full_precision = false needs precision = "bf16"'),
    (
        {"data": {"resolution": 100}},
        "each side must be a multiple of 8, at least 64 and at most 16384 (is 100)",
    ),
    ({"data": {"resolution": "big"}}, "data.resolution: must be a number"),
    ({"data": {"folder": None}}, "data: no pictures: set folder"),
    ({"data": {"augment": {"color": True}}}, "need cache_latents = false"),
    ({"data": {"encode": "along", "workers": 1}}, "encode = 'along' needs cache_latents = true, workers = 0"),
    ({"data": {"buckets": {"min_side": 512, "max_side": 128}}}, "min_side (512) must not be larger than max_side"),
    ({"model": {"clip_skip": 0}}, "model.clip_skip: input should be greater than or equal to 1"),
    ({"model": {"checkpoint": None}}, "model.checkpoint: "),
    ({"model": {"max_token_length": 80}}, "model.max_token_length: input should be 75, 150 or 225 (is 80)"),
    ({"objective": {"min_timestep": 900, "max_timestep": 100}}, "min_timestep (900) must be below max_timestep"),
    ({"objective": {"noise_offset": 0.1, "multires_iterations": 3}}, "exclude each other"),
    ({"sample": {"every_steps": 5}}, "sample: pictures are asked for, but there is no prompt"),
]


@pytest.mark.parametrize(("tables", "sentence"), CONFIGS)
def test_wrong_settings_are_refused_with_their_key(bench: Workbench, tables: Tables, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        config.parse_config(bench.raw(tables=tables), Path("my.toml"))
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("my.toml: ")
    assert sentence in caught.value.problems[0]
    assert caught.value.exit_code == 2


def test_all_problems_are_told_at_once(bench: Workbench) -> None:
    with pytest.raises(InputError) as caught:
        config.parse_config(bench.raw(tables={"network": {"rank": 0}, "train": {"stepps": 1}}), Path("my.toml"))
    assert len(caught.value.problems) == 2


def empty(folder: Path) -> Tables:
    (folder / "pics").mkdir()
    return {"data": {"folder": str(folder / "pics")}}


def no_pictures(folder: Path) -> Tables:
    (folder / "pics" / "3_cat").mkdir(parents=True)
    return {"data": {"folder": str(folder / "pics")}}


def zero_repeats(folder: Path) -> Tables:
    tiny.picture(folder / "pics" / "0_cat" / "a.png")
    return {"data": {"folder": str(folder / "pics")}}


def no_folder(folder: Path) -> Tables:
    return {"data": {"folder": str(folder / "nowhere")}}


def broken_picture(folder: Path) -> Tables:
    tiny.picture(folder / "pics" / "1_cat" / "a.png")
    (folder / "pics" / "1_cat" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    return {"data": {"folder": str(folder / "pics")}}


def cut_picture(folder: Path) -> Tables:
    whole = tiny.picture(folder / "pics" / "1_cat" / "a.png")
    whole.write_bytes(whole.read_bytes()[:-300])
    return {"data": {"folder": str(folder / "pics")}}


def caption_missing(folder: Path) -> Tables:
    tiny.picture(folder / "pics" / "1_cat" / "a.png")
    return {"data": {"folder": str(folder / "pics"), "captions": {"required": True}}}


def caption_not_text(folder: Path) -> Tables:
    tiny.picture(folder / "pics" / "1_cat" / "a.png").with_suffix(".txt").write_bytes(b"caf\xe9 \xff")
    return {"data": {"folder": str(folder / "pics")}}


def no_checkpoint(folder: Path) -> Tables:
    return {"model": {"checkpoint": str(folder / "model.safetensors")}}


def checkpoint_is_a_page(folder: Path) -> Tables:
    (folder / "model.safetensors").write_text("<html><body>404</body></html>")
    return {"model": {"checkpoint": str(folder / "model.safetensors")}}


def checkpoint_is_a_lora(folder: Path) -> Tables:
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, folder / "model.safetensors")
    return {"model": {"checkpoint": str(folder / "model.safetensors")}}


def no_tokenizer(folder: Path) -> Tables:
    return {"model": {"tokenizer": str(folder)}}


def wrong_start(folder: Path) -> Tables:
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, folder / "start.safetensors")
    return {"network": {"start_from": str(folder / "start.safetensors")}}


def wrong_prompt(folder: Path) -> Tables:
    return {"sample": {"prompts": ("a cat --w wide",), "every_steps": 1}}


def wrong_argument(folder: Path) -> Tables:
    return {"optimizer": {"args": {"weight_decya": 0.1}}}


def whole_validation(folder: Path) -> Tables:
    return {"validation": {"share": 1.0}}


BROKEN: list[tuple[Callable[[Path], Tables], str]] = [
    (empty, "holds no folder named N_name"),
    (no_pictures, "3_cat: holds no picture"),
    (zero_repeats, "its name says 0 repeats; name it 1_cat"),
    (no_folder, "nowhere: no such folder (data.folder)"),
    (broken_picture, "b.png: is no readable picture (cannot identify image file); replace it"),
    (cut_picture, "a.png: is no readable picture"),
    (caption_missing, "a.png: has no caption (.txt or .caption); write one"),
    (caption_not_text, "a.txt: is not UTF-8 text"),
    (no_checkpoint, "model.safetensors: no such file"),
    (checkpoint_is_a_page, "model.safetensors: is a web page, not a model"),
    (checkpoint_is_a_lora, "model.safetensors: is a LoRA; model.checkpoint must be a whole SD 1.5"),
    (no_tokenizer, "hf download openai/clip-vit-large-patch14 vocab.json merges.txt, or set model.tokenizer"),
    (wrong_start, "start.safetensors: is of another network"),
    (wrong_prompt, "--w needs a whole number (is 'wide')"),
    (wrong_argument, "optimizer.args: AdamW does not take them"),
    (whole_validation, "leaves none to train on; lower it"),
]


@pytest.mark.parametrize(("make", "sentence"), BROKEN)
def test_broken_inputs_end_in_one_sentence(
    bench: Workbench, tmp_path: Path, make: Callable[[Path], Tables], sentence: str
) -> None:
    tables = dict(make(tmp_path))
    tables["data"] = {**tables.get("data", {}), "cache_folder": str(tmp_path / "cache")}
    with pytest.raises(InputError) as caught:
        bench.train("run", tables=tables)
    assert len(caught.value.problems) == 1
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2
    assert not list((tmp_path / "run" / "output").glob("*"))
    assert not record_format.is_finished(record_format.read_record(tmp_path / "run" / "run.json"))


def test_at_least_thirty_broken_inputs_are_tried() -> None:
    sentences = {sentence for _, sentence in [*CONFIGS, *BROKEN]}
    print(f"{len(CONFIGS)} broken configs and {len(BROKEN)} broken files, {len(sentences)} different sentences")
    assert len(BROKEN) + len(CONFIGS) >= 30


def test_checkpoint_of_another_family(bench: Workbench) -> None:
    with pytest.raises(InputError, match=r"is of the family sdxl, but model\.family says sd1"):
        bench.train("run", "sdxl", {"model": {"family": "sd1"}})


def test_incomplete_checkpoint(bench: Workbench, tmp_path: Path) -> None:
    tensors = load_file(bench.materials / "sd1.safetensors")
    del tensors["model.diffusion_model.middle_block.0.in_layers.0.weight"]
    save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(InputError, match="its UNet does not fit: 1 tensors are missing"):
        bench.train("run", tables={"model": {"checkpoint": str(tmp_path / "cut.safetensors")}})


def test_run_folder_of_another_config(bench: Workbench) -> None:
    bench.train("run")
    with pytest.raises(InputError, match="holds the finished run of another config"):
        bench.train("run", tables={"train": {"seed": 5}})
    (bench.folder / "run" / "run.json").unlink()
    with pytest.raises(InputError, match="holds a checkpoint of another config"):
        bench.train("run", tables={"train": {"seed": 5}})


def test_damaged_checkpoint(bench: Workbench) -> None:
    bench.train("run")
    (bench.folder / "run" / "run.json").unlink()
    file = next((bench.folder / "run" / "checkpoint").glob("*.pt"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="is damaged"):
        bench.train("run")


def test_exploding_loss_stops_and_keeps_the_last_good_checkpoint(bench: Workbench) -> None:
    tables = {"optimizer": {"learning_rate": 1e12, "max_grad_norm": 0}, "save": {"checkpoint_every_steps": 1}}
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) at step .*Try a lower optimizer"):
        bench.train("run", tables={**tables, "train": {"steps": 50}})
    assert not bench.file("run").exists()
    kept = checkpoint.latest_checkpoint(bench.folder / "run" / "checkpoint")
    assert kept is None or all(value.isfinite().all() for value in kept["weights"].values())
    assert bench.events("run", "error")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("out of memory")])
def test_out_of_memory_says_which_settings_save_how_much(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(recipe, "train", fail)
    with pytest.raises(TrainingError) as caught:
        data = {"resolution": 512, "encode": "along"}
        bench.train("run", tables={"train": {"batch_size": 4, "accumulation": 2}, "data": data})
    said = str(caught.value)
    assert said.startswith("out of memory; the last checkpoint is kept. Try, one after the other: ")
    assert "train.batch_size = 1 with train.accumulation = 8 (the same result on average) (saves 5.6 GB)" in said
    assert 'data.encode = "ahead" (the VAE then leaves the memory before the first step) (saves 0.3 GB)' in said
    assert "data.resolution = [384, 384] instead of 512x512 (saves" in said
    assert 'train.precision = "bf16" (saves 3.9 GB)' in said


def test_a_disk_that_refuses_at_the_beginning_is_told_in_a_sentence(bench: Workbench, tmp_path: Path) -> None:
    file, run = tmp_path / "my.toml", tmp_path / "run"
    file.write_text(as_toml(config.parse_config(bench.raw(tables={"train": {"steps": 1}}), Path("my.toml"))))
    run.mkdir()
    (run / "environment").write_text("where a folder must be made")
    told = CliRunner().invoke(app, ["run", str(file), "--run", str(run)])
    assert told.exit_code == 1
    assert "error: " in told.output
    assert "environment: File exists; fix this and run the same command again" in told.output


def test_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, 1, {"weights": torch.zeros(10)}, keep=1)
    with (
        small_disk(20_000),
        pytest.raises(TrainingError, match=r"cannot be written.*Make room and start the run again"),
    ):
        checkpoint.save_checkpoint(tmp_path, 2, {"weights": torch.zeros(100_000)}, keep=1)
    assert [file.name for file in tmp_path.iterdir()] == ["step-00000001.pt"]


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes: writes fail half way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
