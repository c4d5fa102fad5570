"""What `lora-train check` says of cards: which ones a config fits, and what would make it fit the others."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from PIL import Image
from typer.testing import CliRunner

from training.cli import app

RUNNER = CliRunner()


def config(folder: Path, family: str, **tables: Any) -> Path:
    """A config over a base model of that family: as much of it as `check` reads."""
    unet = {"addition_embed_type": "text_time"} if family == "sdxl" else {}
    for name, text in {
        "base/unet/config.json": json.dumps(unet),
        "base/tokenizer/vocab.json": "{}",
        "base/tokenizer/merges.txt": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    side = 1024 if family == "sdxl" else 512
    (folder / "pictures/1_cat").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side)).save(folder / "pictures/1_cat/a.png")
    raw: dict[str, Any] = {
        "name": "cat",
        "model": {"checkpoint": "base"},
        "data": {"folder": "pictures", "resolution": side},
    }
    file = folder / "config.toml"
    file.write_text(
        tomlkit.dumps(
            {name: {**raw.get(name, {}), **tables.get(name, {})} for name in {**raw, **tables} if name != "name"}
            | {"name": "cat"}
        )
    )
    return file


def checked(file: Path) -> str:
    done = RUNNER.invoke(app, ["check", str(file)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_usual_run_names_its_memory_and_every_card_that_it_fits(tmp_path: Path) -> None:
    said = checked(config(tmp_path, "sd1"))
    memory = re.search(r"about (\d\.\d) GB of GPU memory \(base model 1\.7, trained weights 0\.1, step 1\.3; ", said)
    assert memory and 3 < float(memory[1]) < 5
    assert "fits a card with 8, 12, 16, 24, 48, 80 GB" in said and "GB: " not in said


def test_for_each_card_that_is_too_small_it_says_what_would_make_the_run_fit(tmp_path: Path) -> None:
    said = checked(config(tmp_path, "sdxl", train={"batch_size": 4}))
    assert "\nfits a card with 48, 80 GB\n" in said
    rows = dict(re.findall(r"^(\d+) GB: (.*)$", said, re.MULTILINE))
    assert rows.keys() == {"8", "12", "16", "24"}
    for card, sentence in rows.items():
        fits = re.fullmatch(r"fits \((\d+\.\d) GB\) with (.+)", sentence)
        assert fits and float(fits[1]) <= int(card)
    assert rows["24"].endswith("train.gradient_checkpointing = true (a step takes 1.4x the time)")


def test_what_it_names_does_make_the_run_fit(tmp_path: Path) -> None:
    said = checked(config(tmp_path, "sdxl", train={"batch_size": 4}))
    assert "12 GB: fits" in said
    changed = {"batch_size": 4, "gradient_checkpointing": True}
    assert "fits a card with 12, 16, 24, 48, 80 GB" in checked(config(tmp_path, "sdxl", train=changed))


def test_a_run_that_no_change_makes_small_enough_does_not_fit(tmp_path: Path) -> None:
    greedy = {"kind": "loha", "rank": 4096, "alpha": 1.0, "conv_rank": 4096}
    assert "\n8 GB: does not fit\n" in checked(config(tmp_path, "sdxl", network=greedy))


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_a_run_without_a_card_says_nothing_of_cards(tmp_path: Path, device: str) -> None:
    assert "GB" not in checked(config(tmp_path, "sd1", train={"device": device}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            'checkpoint = "C:\\\\sd.safetensors"',
            "model.checkpoint: 'C:\\\\sd.safetensors' is a Windows path; write its path on",
        ),
        ("checkpoint = 'base\\sd15'", "model.checkpoint: 'base\\\\sd15' is a Windows path"),
        ('checkpoint = "https://x.example/a.safetensors"', "is a URL; download it, and write the path of the file"),
        (
            'checkpoint = "runwayml/stable-diffusion-v1-5"',
            "if runwayml/stable-diffusion-v1-5 is a model of a hub, download it",
        ),
        ('checkpoint = "a"\nvae = "d:/vae.pt"', "model.vae: 'd:/vae.pt' is a Windows path"),
        (
            'checkpoint = "a"\nclip_skip = 2026-11-27',
            "model.clip_skip: input should be a valid integer (is 2026-11-27)",
        ),
    ],
)
def test_what_is_no_path_is_named_as_what_it_is(settings: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'name = "x"\n[model]\n{settings}\n[[data.subsets]]\nfolder = "pictures"\n')
    done = RUNNER.invoke(app, ["check", str(file)])
    assert done.exit_code and said in str(done.exception) + done.output


def test_what_the_base_model_makes_of_the_settings_is_told_before_the_training(tmp_path: Path) -> None:
    said = checked(config(tmp_path, "sdxl", model={"clip_skip": 3}))
    assert "warning: model.clip_skip = 3 has no effect: for SDXL always the text encoders' last layer but one" in said
    assert "clip_skip" not in checked(config(tmp_path, "sdxl", model={"clip_skip": 2}))
    assert "clip_skip" not in checked(config(tmp_path, "sd1", model={"clip_skip": 3}))
    done = RUNNER.invoke(app, ["check", str(config(tmp_path, "sd1", model={"family": "sdxl"}))])
    assert done.exit_code == 2 and "is of the family sd1, but model.family says sdxl" in done.output
