"""Diffusers folders as base models: what cannot be trained, is damaged or incomplete is named, with folder and part."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training import tiny
from tests.training.test_loaders import pipeline
from tests.training.workbench import Workbench
from training.base.files import family_of, open_base
from training.base.loading import BaseModel
from training.errors import InputError
from training.sections.model import Model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def saved(materials: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small SD 1 and SDXL models as diffusers folders."""
    folder = tmp_path_factory.mktemp("diffusers")
    for family in ("sd1", "sdxl"):
        model = Model(checkpoint=materials / f"{family}.safetensors", tokenizer=materials / "tokenizer")
        pipeline(BaseModel(model)).save_pretrained(folder / family)
    return folder


def copied(saved: Path, bench: Workbench, family: str = "sd1") -> Path:
    shutil.copytree(saved / family, folder := bench.folder / "base")
    return folder


def settings(file: Path, **changed: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        base = BaseModel(Model(checkpoint=folder))
        base.unet(torch.float32)
        base.vae(torch.float32)
        base.text_encoders(torch.float32)
        base.tokenizer()
    return str(caught.value)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_folder_holds_the_same_model_as_the_file(saved: Path, bench: Workbench, family: str) -> None:
    file, folder = (
        BaseModel(Model(checkpoint=path, tokenizer=bench.materials / "tokenizer"))
        for path in (bench.materials / f"{family}.safetensors", saved / family)
    )
    assert folder.family == family and folder.tokenizer()("a cat") == file.tokenizer()("a cat")
    ours = [folder.unet(torch.float32), folder.vae(torch.float32), *folder.text_encoders(torch.float32)]
    theirs = [file.unet(torch.float32), file.vae(torch.float32), *file.text_encoders(torch.float32)]
    for one, two in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize(
    ("family", "changed", "sentence"),
    [
        ("sd1", {"in_channels": 8}, "is an instruct-pix2pix model, whose UNet takes 8 channels instead of 4"),
        ("sd1", {"in_channels": 9}, "is an inpainting model, whose UNet takes 9 channels instead of 4"),
        ("sdxl", {"cross_attention_dim": 1280}, "is an SDXL refiner, which LoRAs are not trained for"),
    ],
)
def test_what_cannot_be_trained_is_called_by_its_name(
    saved: Path, bench: Workbench, family: str, changed: Any, sentence: str
) -> None:
    folder = copied(saved, bench, family)
    settings(folder / "unet" / "config.json", **changed)
    assert refused(folder).startswith(f"{folder}: {sentence}")


def test_a_refiner_is_known_by_its_only_text_encoder(saved: Path, bench: Workbench) -> None:
    folder = copied(saved, bench, "sdxl")
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(InputError, match="is an SDXL refiner"):
        family_of(open_base(folder))


def weights(folder: Path) -> Path:
    [file] = folder.glob("*.safetensors")
    return file


def nan(part: Path) -> None:
    state = load_file(weights(part))
    name = sorted(state)[0]
    save_file(state | {name: torch.full_like(state[name], float("nan"))}, weights(part), {"format": "pt"})


def one_less(part: Path) -> None:
    state = load_file(weights(part))
    state.pop(sorted(state)[0])
    save_file(state, weights(part), {"format": "pt"})


def other_shape(part: Path) -> None:
    state = load_file(weights(part))
    name = sorted(state)[-1]
    save_file(state | {name: torch.zeros(3, 5)}, weights(part), {"format": "pt"})


def cut(part: Path) -> None:
    weights(part).write_bytes(weights(part).read_bytes()[:-100])


def no_weights(part: Path) -> None:
    weights(part).unlink()


def no_settings(part: Path) -> None:
    (part / "config.json").write_text("{")


PARTS = {"unet": "UNet", "vae": "VAE", "text_encoder": "text encoder"}
DAMAGES = [nan, one_less, other_shape, cut, no_weights, shutil.rmtree]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_folder_is_named_with_its_part(
    saved: Path, bench: Workbench, part: str, damage: Callable[[Path], None]
) -> None:
    folder = copied(saved, bench)
    damage(folder / part)
    said = refused(folder)
    if damage is nan:
        assert said.startswith(f"{folder / part}: 1 tensors hold NaN or infinity (first: ")
    elif (part, damage) == ("unet", shutil.rmtree):
        assert said == f"{folder}: is not a diffusers folder (no unet/config.json)"
    elif (part, damage) == ("vae", shutil.rmtree):
        assert said.startswith(f"{folder}: its VAE cannot be read (")
    else:
        assert said.startswith(
            (f"{folder / part}: its {PARTS[part]} cannot be read (", f"{folder / part}: its {PARTS[part]} is inc")
        )
    assert "\n" not in said


@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_unreadable_settings_of_a_part_are_named(saved: Path, bench: Workbench, part: str) -> None:
    folder = copied(saved, bench)
    no_settings(folder / part)
    assert str(folder / part) in refused(folder)


def test_a_damaged_vocabulary_is_named(saved: Path, bench: Workbench) -> None:
    folder = copied(saved, bench)
    (folder / "tokenizer").mkdir(exist_ok=True)
    shutil.copytree(bench.materials / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    for file in (folder / "tokenizer").glob("tokenizer.json"):
        file.unlink()
    (folder / "tokenizer" / "vocab.json").write_text("{")
    assert refused(folder).startswith(f"{folder / 'tokenizer'}: its tokenizer cannot be read (")


def test_the_scheduler_states_the_prediction_and_contradictions_are_noted(saved: Path, bench: Workbench) -> None:
    folder = copied(saved, bench, "sdxl")
    assert not BaseModel(Model(checkpoint=folder)).v_prediction
    settings(
        folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction", rescale_betas_zero_snr=True
    )
    base = BaseModel(Model(checkpoint=folder))
    assert base.v_prediction
    assert base.remarks(True) == ["the checkpoint was trained with v-prediction (scheduler_config.json)"]
    assert base.remarks(False)[1:] == [
        "warning: the checkpoint was made with zero terminal SNR; set objective.zero_terminal_snr = true"
    ]
    other = BaseModel(Model(checkpoint=folder, prediction="epsilon"))
    assert not other.v_prediction
    [said] = other.remarks(True)
    assert "but the checkpoint says v-prediction (scheduler_config.json)" in said
    settings(folder / "scheduler" / "scheduler_config.json", prediction_type="epsilon", rescale_betas_zero_snr=False)
    [said] = BaseModel(Model(checkpoint=folder, prediction="v_prediction")).remarks(False)
    assert "but the checkpoint says epsilon (scheduler_config.json)" in said


def test_weights_of_one_variant_are_loaded(saved: Path, bench: Workbench) -> None:
    folder = copied(saved, bench, "sdxl")
    whole = BaseModel(Model(checkpoint=folder)).unet(torch.float32).state_dict()
    for file in sorted(folder.glob("*/*.safetensors")):
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    base = BaseModel(Model(checkpoint=folder))
    assert all(torch.equal(whole[key], tensor) for key, tensor in base.unet(torch.float32).state_dict().items())
    assert len(base.text_encoders(torch.float32)) == 2 and base.vae(torch.float32)


@pytest.mark.parametrize("form", [tiny.tokenizer_json, tiny.tokenizer])
def test_a_vocabulary_is_read_in_either_form(
    saved: Path, bench: Workbench, form: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers 4 writes vocab.json and merges.txt, transformers 5 tokenizer.json."""
    monkeypatch.setenv("HF_HOME", str(bench.folder / "empty"))
    folder = copied(saved, bench)
    known = BaseModel(Model(checkpoint=folder, tokenizer=bench.materials / "tokenizer")).tokenizer()
    shutil.rmtree(folder / "tokenizer")
    form(folder / "tokenizer")
    found = BaseModel(Model(checkpoint=folder)).tokenizer()
    for text in ("a cat", "A Cat, (it's:1.2)  1girl_solo"):
        assert found(text)["input_ids"] == known(text)["input_ids"]
    assert (found.bos_token_id, found.eos_token_id) == (known.bos_token_id, known.eos_token_id)
