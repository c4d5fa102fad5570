"""The lab's base model, tokenizer and training pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from inventory.errors import SdfleetError
from lab.checkpoint_layout import Dimensions, names
from lab.models import base_weights, write_base_model
from lab.packages import Packages
from lab.photos import PHOTOS, write_training_set
from lab.tokenizer import _vocabulary, tokenizer_files

SMALL = Dimensions(unet=(32, 32, 64, 64), vae=(32, 32, 64, 64), vocabulary=64)


def test_layout_has_the_keys_of_sd15() -> None:
    full = Dimensions(text_layers=12)
    groups = {prefix: 0 for prefix in ("model.diffusion_model", "first_stage_model", "cond_stage_model")}
    for name, _ in names(full):
        groups[name.partition(".")[0] if "diffusion" not in name else "model.diffusion_model"] += 1
    assert groups == {"model.diffusion_model": 686, "first_stage_model": 248, "cond_stage_model": 197}


def test_real_widths_give_the_real_number_of_weights() -> None:
    real = Dimensions((320, 640, 1280, 1280), (128, 256, 512, 512), text_width=768, text_layers=12)
    count = sum(int(np.prod(shape)) for name, shape in names(real) if "position_ids" not in name)
    assert count == 859_520_964 + 83_653_863 + 123_060_480, "UNet, autoencoder and text encoder of SD 1.5"


def test_same_bytes_every_time(tmp_path: Path) -> None:
    first = write_base_model(tmp_path / "a.safetensors", SMALL)
    assert write_base_model(tmp_path / "b.safetensors", SMALL) == first
    assert write_base_model(tmp_path / "c.safetensors", SMALL, seed=16) != first
    with safe_open(tmp_path / "a.safetensors", framework="np") as file:
        assert set(file.keys()) == {name for name, _ in names(SMALL)}


def test_weights_do_not_make_the_webui_divide_by_zero() -> None:
    weights = base_weights(SMALL, seed=1)
    assert abs(float(weights["cond_stage_model.transformer.text_model.final_layer_norm.bias"].mean())) > 0.1
    assert all(np.isfinite(weight).all() for weight in weights.values())


def test_tokenizer_is_clips(tmp_path: Path) -> None:
    for name, data in tokenizer_files().items():
        (tmp_path / name).write_bytes(data)
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == 49408
    # The ids that CLIP's paper code gives this sentence.
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_tokenizer_without_its_vocabulary_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packages, "links", lambda *_: ())
    with pytest.raises(SdfleetError, match=r"this machine's package indexes have no open_clip_torch-3\.3\.0"):
        _vocabulary.__wrapped__()


def test_training_set_is_kohyas_layout(tmp_path: Path) -> None:
    folder = write_training_set(tmp_path, size=64, repeats=3)
    assert folder.name == "3_labphoto"
    pictures = sorted(folder.glob("*.png"))
    assert len(pictures) == len(PHOTOS) == 12
    for picture in pictures:
        with Image.open(picture) as image:
            assert (image.size, image.mode) == ((64, 64), "RGB")
            assert np.asarray(image).std() > 10, "a photograph is not flat"
        assert picture.with_suffix(".txt").read_text().startswith("labphoto, ")
