"""Whatever bytes lie under a name, readers give a result or a sentence."""

import json
import math
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.mutations import examples
from training.base import files, parts, prediction
from training.base import tensors as base_tensors
from training.base.loading import BaseModel
from training.config import Captions
from training.data import captions, images
from training.data.buckets import Fit
from training.errors import InputError, TrainingError
from training.lora import deltas, validity
from training.sections.model import Family, Model

pytestmark = pytest.mark.slow

MANY = examples(300)
NAMES = st.sampled_from(
    [
        *("model.diffusion_model.input_blocks.0.0.weight", "v_pred", "ztsnr", "conditioner.embedders.1.model.x"),
        *("cond_stage_model.transformer.x", "lora_unet_mid.lora_up.weight", "lora_unet_mid.lora_down.weight", "a"),
        *("lora_unet_mid.alpha", "lora_unet_x_attn2_to_k.hada_w1_a", "lora_unet_x_attn2_to_k.lokr_w1", "emb_params"),
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 100) | st.text(max_size=5) | st.sampled_from(["F16", "F32", "F8_E4M3"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F16", "F32", "BF16", "F8_E4M3", "I64", "odd"]),
        "shape": st.lists(st.integers(0, 4), max_size=4),
        "data_offsets": st.tuples(st.integers(0, 64), st.integers(0, 64)),
    }
)
HEADER = st.dictionaries(NAMES | st.text(max_size=6), ENTRY | ANYTHING, max_size=5)
FILE = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda header, tail: len(text := json.dumps(header).encode()).to_bytes(8, "little") + text + tail,
        HEADER,
        st.binary(max_size=64),
    ),
)
PART = st.sampled_from(
    [
        *("lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha", "dora_scale", "diff", "diff_b"),
        *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "lokr_w1", "lokr_w1_a", "lokr_w1_b"),
        *("lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "w_norm"),
    ]
)
SHAPE = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@MANY
@given(content=FILE)
def test_files_that_should_be_safetensors(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "any.safetensors"
    file.write_bytes(content)
    for read in (_checkpoint, validity.read_valid):
        try:
            read(file)
        except TrainingError as error:
            assert str(error).startswith(str(file))


def _checkpoint(file: Path) -> None:
    source = files.open_base(file)
    assert isinstance(source, files.TensorFile)
    prediction.detect_prediction(source)
    _derive(source, files.family_of(source))
    base_tensors.read_tensors(source)


def _derive(source: files.TensorFile, family: Family) -> None:
    """The configurations of all parts, each by itself: a part that is refused must not hide the others."""
    refused: list[str] = []
    for derive in (parts.unet, parts.vae, parts.text_encoders):
        try:
            derive(source, family)
        except InputError as error:
            refused += error.problems
    if refused:
        raise InputError(refused)


def _write_header(file: Path, shapes: dict[str, tuple[int, ...]]) -> files.TensorFile:
    """A file of zeros with these tensors; its numbers take no room on the disk."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": (end, end + 2 * math.prod(shape))}
        end = header[name]["data_offsets"][1]
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
    return files.TensorFile(file)


CHANGES = st.lists(
    st.tuples(
        st.floats(0, 0.999),
        st.sampled_from(["drop", "drop from here", "reshape", "transpose", "rename", "other number", "prefix"]),
        st.lists(st.integers(0, 40), max_size=4).map(tuple),
        st.sampled_from(["x", "-1", "99999999", "", "12", "\u0663"]),
    ),
    min_size=1,
    max_size=4,
)


def _changed(shapes: dict[str, tuple[int, ...]], changes: list[Any]) -> dict[str, tuple[int, ...]]:
    found = dict(shapes)
    for where, change, shape, text in changes:
        names = list(found)
        if not names:
            break
        at = int(where * len(names))
        name = names[at]
        if change == "drop from here":
            found = {kept: found[kept] for kept in names[:at]}
        elif change == "prefix":
            start = ".".join(name.split(".")[:4])
            found = {kept: shape for kept, shape in found.items() if not kept.startswith(start)}
        else:
            old = found.pop(name)
            if change in ("reshape", "transpose"):
                found[name] = shape if change == "reshape" else old[::-1]
            elif change == "rename":
                found[f"{name.rpartition('.')[0]}.{text}"] = old
            elif change == "other number":
                found[re.sub(r"\d+", text, name, count=1)] = old
    return found


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@MANY
@given(changes=CHANGES)
def test_base_models_with_missing_and_odd_tensors(materials: Path, tmp_path: Path, family: Any, changes: Any) -> None:
    shapes = files.TensorFile(materials / f"{family}.safetensors").shapes
    source = _write_header(tmp_path / "odd.safetensors", _changed(shapes, changes))
    try:
        _derive(source, files.family_of(source))
    except InputError as error:
        assert all(problem.startswith(str(source.path)) for problem in error.problems)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@examples(15)
@given(changes=CHANGES)
def test_what_is_left_of_base_models_loads_or_is_refused(
    materials: Path, tmp_path: Path, family: Any, changes: Any
) -> None:
    shapes = files.TensorFile(materials / f"{family}.safetensors").shapes
    file = _write_header(tmp_path / "odd.safetensors", _changed(shapes, changes)).path
    for part in (BaseModel.unet, BaseModel.vae, BaseModel.text_encoders):
        try:
            part(BaseModel(Model(checkpoint=file)), torch.float32)
        except InputError as error:
            assert str(error).startswith(str(file))


@MANY
@given(parts=st.dictionaries(PART, SHAPE, min_size=1, max_size=6))
def test_modules_of_any_shapes_can_be_applied_or_are_named(parts: dict[str, Any]) -> None:
    tensors = {name: torch.ones(shape) for name, shape in parts.items()}
    if deltas.why_invalid(tensors) is None and deltas.network_kind(tensors) != "bias":
        assert deltas.delta(tensors).isfinite().all()


@MANY
@given(content=st.binary(max_size=300), kind=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP"]), cut=st.integers(0, 300))
def test_pictures_of_any_bytes(tmp_path: Path, content: bytes, kind: str, cut: int) -> None:
    file = tmp_path / "any.png"
    Image.new("RGB", (9, 7), "red").save(file, kind)
    whole = file.read_bytes()
    file.write_bytes(whole[:cut] + content + whole[cut + len(content) :])
    try:
        images.read_pixels(file, Fit((64, 64), (64, 64)))
    except TrainingError as error:
        assert str(error).startswith(str(file))


@MANY
@given(content=st.binary(max_size=200))
def test_captions_of_any_bytes(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "any.txt"
    file.write_bytes(content)
    try:
        assert "\n" not in captions.read_caption(tmp_path / "any.png", Captions(), "")
    except TrainingError as error:
        assert str(file) in str(error)


SETTINGS = st.builds(
    Captions,
    wildcards=st.booleans(),
    shuffle=st.booleans(),
    keep_tokens=st.integers(0, 4),
    keep_tokens_separator=st.sampled_from(["", "|||", "{", ","]),
    tag_dropout=st.sampled_from([0.0, 0.5, 1.0]),
    prefix=st.sampled_from(["", "p", "{a|b}"]),
    lines=st.sampled_from(["join", "first"]),
)
PARTS = st.sampled_from(
    ["{a|b}", "{{", "}}", "{|}", "{", "}", "|", ",", "\n", "a cat", "|||", "__x__", "\x00", "\ue000"]
)


@MANY
@given(text=st.lists(PARTS | st.text(max_size=3), max_size=8).map("".join), settings=SETTINGS, seed=st.integers(0, 9))
def test_captions_with_wildcards_of_any_text(tmp_path: Path, text: str, settings: Captions, seed: int) -> None:
    file = tmp_path / "any.txt"
    file.write_bytes(text.encode())
    caption = captions.read_caption(tmp_path / "any.png", settings, "")
    shown = captions.vary_caption(caption, settings, 1, Random(seed))
    assert "\n" not in shown
    assert shown == captions.vary_caption(caption, settings, 1, Random(seed))
