"""Pictures, captions, buckets and order."""

import random
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.mutations import examples
from tests.training import tiny
from tests.training.workbench import Workbench
from training.base.loading import BaseModel
from training.config import Buckets, Captions, Data, Model, parse_config
from training.data import captions, emphasis, images, pictures
from training.data.buckets import bucket_sizes, fit
from training.data.order import BatchOrder
from training.data.text import TextStack
from training.loop.validation import hold_back

pytestmark = pytest.mark.slow

SIZES = [
    (512, 512),
    (1920, 1080),
    (1080, 1920),
    (640, 480),
    (300, 200),
    (2000, 500),
    (513, 770),
    (768, 512),
    (100, 100),
]
KOHYA = [
    ((512, 512), (512, 512)),
    ((640, 384), (683, 384)),
    ((384, 640), (384, 683)),
    ((576, 448), (597, 448)),
    ((640, 384), (640, 427)),
    ((1024, 256), (1024, 256)),
    ((384, 640), (426, 640)),
    ((640, 384), (640, 427)),
    ((512, 512), (512, 512)),
]
"""Bucket and resized size by BucketManager.select_bucket of kohya's sd-scripts: 512x512, 256 to 1024 by 64."""
KOHYA_NO_UPSCALE = [
    ((512, 512), (512, 512)),
    ((640, 384), (683, 384)),
    ((384, 640), (384, 683)),
    ((512, 384), (512, 384)),
    ((256, 192), (300, 200)),
    ((1024, 256), (1024, 256)),
    ((384, 576), (384, 576)),
    ((576, 384), (576, 384)),
    ((64, 64), (100, 100)),
]


@pytest.mark.parametrize(("no_upscale", "expected"), [(False, KOHYA), (True, KOHYA_NO_UPSCALE)])
def test_buckets_are_kohyas(no_upscale: bool, expected: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    buckets = Buckets(no_upscale=no_upscale)
    sizes = bucket_sizes((512, 512), buckets)
    found = [fit(size, (512, 512), buckets, sizes) for size in SIZES]
    assert [(one.size, one.resized) for one in found] == expected


def test_without_buckets_every_picture_covers_the_resolution() -> None:
    buckets = Buckets(enabled=False)
    for size in SIZES:
        one = fit(size, (512, 512), buckets, [])
        assert one.size == (512, 512)
        assert min(one.resized) == 512


def test_order_shows_each_picture_as_often_as_asked(bench: Workbench) -> None:
    found = pictures.find_pictures(bench.config().data)
    order = BatchOrder(found, 2, seed=1)
    for epoch in range(3):
        batches = order.epoch(epoch)
        assert len(batches) == len(order) == 6
        shown = [index for batch in batches for index in batch]
        assert sorted(shown) == sorted(list(range(6)) * 2)
        assert all(len({found[index].fit.size for index in batch}) == 1 for batch in batches)
    assert order.epoch(0) != order.epoch(1)


def test_regularisation_pictures_match_the_others_number(tmp_path: Path) -> None:
    for index in range(3):
        tiny.picture(tmp_path / "train" / "4_sks cat" / f"{index}.png", seed=index)
    for index in range(5):
        tiny.picture(tmp_path / "reg" / "1_cat" / f"{index}.png", seed=index)
    found = pictures.find_pictures(
        Data(folder=tmp_path / "train", regularisation=tmp_path / "reg", resolution=(64, 64), buckets=SMALL)
    )
    repeats = [picture.repeats for picture in found if picture.subset.regularisation]
    assert repeats == [3, 3, 2, 2, 2]
    assert {picture.caption for picture in found} == {"sks cat", "cat"}


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    """macOS writes ._1.png beside each 1.png of a zip; sd-scripts does not read them either."""
    tiny.picture(tmp_path / "4_cat" / "1.png")
    (tmp_path / "4_cat" / "._1.png").write_bytes(b"Mac OS X")
    (tmp_path / ".4_cat").mkdir()
    found = pictures.find_pictures(Data(folder=tmp_path, resolution=(64, 64), buckets=SMALL))
    assert [picture.path.name for picture in found] == ["1.png"]


def test_large_scans_are_read_without_a_word(tmp_path: Path) -> None:
    """Pillow warns from 89 megapixels on; filters are set anew for each test, hence a process of its own."""
    file = tmp_path / "1_scan" / "a.png"
    file.parent.mkdir()
    Image.new("1", (10000, 10000)).save(file)
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from training.cli import run; run()", "dataset", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


SMALL = Buckets(min_side=48, max_side=96, step=16)


def test_subsets_inherit_and_override(tmp_path: Path) -> None:
    tiny.picture(tmp_path / "a" / "1.png").with_suffix(".caption").write_text("by caption\n  file")
    raw = {
        "resolution": 64,
        "buckets": {"min_side": 48, "max_side": 96},
        "captions": {"keep_tokens": 2, "shuffle": True},
        "subsets": [{"folder": str(tmp_path / "a"), "repeats": 3, "captions": {"shuffle": False}}],
    }
    data = Data.model_validate(raw)
    assert data.subsets[0].captions.keep_tokens == 2
    assert not data.subsets[0].captions.shuffle
    (picture,) = pictures.find_pictures(data)
    assert (picture.caption, picture.repeats) == ("by caption file", 3)


def vary(text: str, epoch: int = 1, seed: int = 0, **settings: object) -> str:
    return captions.vary_caption(text, Captions.model_validate(settings), epoch, random.Random(seed))


def test_captions_vary_by_kohyas_rules() -> None:
    text = "cat, red, grass, sun"
    assert vary(text) == text
    shuffled = {vary(text, seed=seed, shuffle=True, keep_tokens=1) for seed in range(30)}
    assert len(shuffled) == 6
    assert all(one.startswith("cat, ") for one in shuffled)
    assert vary("a, b ||| c, d", shuffle=True, keep_tokens_separator="|||", tag_dropout=1.0) == "a, b"
    assert vary(text, dropout=1.0) == ""
    assert [vary(text, epoch, dropout_every_epochs=3) for epoch in (1, 2, 3)] == [text, text, ""]
    assert vary(text, tag_dropout=1.0, keep_tokens=2) == "cat, red"
    assert vary(text, prefix="photo of", suffix="4k") == "photo of cat, red, grass, sun 4k"


@pytest.mark.parametrize(
    ("settings", "read"),
    [
        ({}, "a cat, red on grass"),
        ({"lines": "first"}, "a cat, red"),
        ({"wildcards": True}, "a cat, red\non grass"),
    ],
)
def test_captions_of_several_lines(tmp_path: Path, settings: dict[str, object], read: str) -> None:
    (tmp_path / "a.txt").write_text(" a  cat, red\r\n\n  on grass \n")
    assert captions.read_caption(tmp_path / "a.png", Captions.model_validate(settings), "") == read


def test_wildcards_take_a_line_and_a_word_anew_each_time() -> None:
    shown = {vary("a {red|blue} cat\n{{plain}} grass", seed=seed, wildcards=True) for seed in range(40)}
    assert shown == {"a red cat", "a blue cat", "{plain} grass"}
    kept = {vary("{b|c}, a", seed=seed, wildcards=True, shuffle=True, keep_tokens=1) for seed in range(20)}
    assert kept == {"b, a", "c, a"}
    assert vary("a {red|blue} cat") == "a {red|blue} cat"
    assert Captions(wildcards=True).varies and not Captions(wildcards=True).fixed.varies


def test_emphasis_means_what_it_means_in_the_webui() -> None:
    def weights(text: str) -> list[tuple[str, float]]:
        return [(piece.text, round(piece.weight, 4)) for piece in emphasis.parse_emphasis(text)]

    assert weights("plain: text") == [("plain: text", 1.0)]
    assert weights("a (b) c") == [("a ", 1.0), ("b", 1.1), (" c", 1.0)]
    assert weights("a ((b)) [c]") == [("a ", 1.0), ("b", 1.21), (" ", 1.0), ("c", 0.9091)]
    assert weights("(a (b:1.5) c:2)") == [("a ", 2.0), ("b", 3.0), (" c", 2.0)]
    assert weights(r"\(a\) b") == [("(a) b", 1.0)]
    assert weights("(open") == [("open", 1.1)]
    assert weights("closed) x") == [("closed) x", 1.0)]
    for odd in ("(oh :...)", "(a:1.2.3)", "(a:.)", f"(a:{'9' * 400})", "(a:\u0663)"):
        assert weights(odd) == [(odd.removeprefix("(").removesuffix(")"), 1.1)], odd


@pytest.fixture(scope="session")
def stack(materials: Path) -> TextStack:
    return _stack(materials)


def _stack(materials: Path, weighted: bool = False, **model: object) -> TextStack:
    settings = {"checkpoint": materials / "sd1.safetensors", "tokenizer": materials / "tokenizer", **model}
    base = BaseModel(Model.model_validate(settings))
    return TextStack(base.tokenizer(), base.text_encoders(torch.float32), base.family, base.config, weighted)


@torch.no_grad()
def test_long_captions_are_encoded_in_pieces(materials: Path, stack: TextStack) -> None:
    long = _stack(materials, max_token_length=225)
    hidden = long.encode(["x" * 100]).hidden
    assert hidden.shape == (1, 227, 64)
    assert torch.allclose(hidden[:, :76], stack.encode(["x" * 100]).hidden[:, :76], atol=1e-5)
    assert not torch.allclose(hidden, long.encode(["x" * 80]).hidden, atol=1e-3)


@torch.no_grad()
def test_clip_skip_takes_the_layer_before_and_norms_it(materials: Path, stack: TextStack) -> None:
    skipped = _stack(materials, clip_skip=2).encode(["a cat"]).hidden
    assert not torch.allclose(skipped, stack.encode(["a cat"]).hidden, atol=1e-3)
    encoder = stack.encoders[0]
    ids = torch.tensor([[188 + 1, *stack.tokenizer("a cat", add_special_tokens=False)["input_ids"]]])
    states = encoder(ids, output_hidden_states=True).hidden_states
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    assert torch.allclose(norm(states[-2])[0], skipped[0, : ids.shape[1]], atol=1e-5)


@torch.no_grad()
def test_sdxl_always_takes_the_last_layer_but_one_and_says_so(materials: Path) -> None:
    file: dict[str, Any] = {"checkpoint": materials / "sdxl.safetensors"}
    plain = _stack(materials, **file)
    ids = torch.tensor([[plain.begin, *plain.tokenizer("a cat", add_special_tokens=False)["input_ids"]]])
    states = [encoder(ids, output_hidden_states=True).hidden_states[-2] for encoder in plain.encoders]
    wanted = torch.cat(states, dim=-1)[0]
    for skip in (1, 2, 3):
        hidden = _stack(materials, **file, clip_skip=skip).encode(["a cat"]).hidden
        assert torch.allclose(hidden[0, : ids.shape[1]], wanted, atol=1e-5)
        [*said] = BaseModel(Model.model_validate({**file, "clip_skip": skip})).remarks(False)
        assert (f"model.clip_skip = {skip} has no effect" in "".join(said)) == (skip > 2)


@torch.no_grad()
def test_emphasis_changes_the_embedding_and_keeps_its_mean(materials: Path) -> None:
    weighted = _stack(materials, weighted=True)
    plain, strong = weighted.encode(["a cat"]).hidden, weighted.encode(["a (cat:1.5)"]).hidden
    assert not torch.allclose(plain, strong, atol=1e-3)
    assert strong.mean().item() == pytest.approx(plain.mean().item(), rel=1e-3)


def test_alpha_becomes_the_mask(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.new("RGBA", (64, 64), (200, 100, 50, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    image.save(tmp_path / "a.png")
    read = images.read_pixels(tmp_path / "a.png", fit((64, 64), (64, 64), Buckets(enabled=False), []))
    assert read.mask is not None
    assert read.mask[:, :4].max() == 0.0
    assert read.mask[:, 4:].min() == 1.0


def test_one_picture_in_three_changes_its_colours() -> None:
    image = Image.merge("RGB", [Image.effect_noise((16, 16), spread) for spread in (20, 60, 100)])
    made = [images._colored(image, Random(seed)) for seed in range(300)]
    assert 70 <= sum(picture.tobytes() != image.tobytes() for picture in made) <= 130
    assert all(picture.size == (16, 16) and picture.mode == "RGB" for picture in made)


def test_masks_regularisation_flips_and_uncached_data_train(bench: Workbench) -> None:
    for index in range(2):
        tiny.picture(bench.folder / "alpha" / "1_cat" / f"{index}.png", seed=index, alpha=True)
        tiny.picture(bench.folder / "reg" / "1_animal" / f"{index}.png", seed=9 + index)
    data = {"folder": str(bench.folder / "alpha"), "regularisation": str(bench.folder / "reg"), "alpha_mask": True}
    bench.train("cached", tables={"data": {**data, "augment": {"flip": True}}})
    varied = {"color": True, "random_crop": True, "flip": True}
    for run in ("one", "two"):
        bench.train(run, tables={"data": {**data, "cache_latents": False, "augment": varied}})
    assert bench.digest("one") == bench.digest("two") != bench.digest("cached")


@pytest.mark.parametrize("lines", ["join", "first"])
def test_a_held_back_picture_has_the_caption_that_validation_folder_would_give_it(tmp_path: Path, lines: str) -> None:
    """With wildcards a caption's lines are choices; of a held-back picture they count as the lines of any other."""
    folder = tmp_path / "pictures/1_cat"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (64, 64)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("\na {red|blue} cat\non grass\n")
    tables = {"folder": str(folder.parent), "resolution": 64, "captions": {"wildcards": True, "lines": lines}}

    def held(validation: dict[str, Any]) -> set[str]:
        raw = {"name": "x", "model": {"checkpoint": "x"}, "data": tables, "validation": validation}
        config = parse_config(raw, tmp_path / "config.toml")
        found = pictures.find_pictures(config.data)
        return {picture.caption for picture in hold_back(config.validation, config.held_back, 1, found)[1]}

    assert held({"share": 0.5}) == held({"folder": str(folder)})


@examples(300)
@given(
    picture=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)),
    resolution=st.tuples(st.sampled_from([64, 72, 512, 1024]), st.sampled_from([64, 200, 512, 768])),
    step=st.sampled_from([8, 32, 64, 256]),
    no_upscale=st.booleans(),
)
def test_every_picture_covers_its_bucket(
    picture: tuple[int, int], resolution: tuple[int, int], step: int, no_upscale: bool
) -> None:
    buckets = Buckets(step=step, no_upscale=no_upscale, min_side=step, max_side=1024)
    sizes = bucket_sizes(resolution, buckets)
    if not sizes and not no_upscale:
        return
    found = fit(picture, resolution, buckets, sizes)
    assert all(side and side % step == 0 for side in found.size)
    assert all(inner <= outer for inner, outer in zip(found.size, found.resized, strict=True))


@pytest.mark.parametrize("picture", [(80, 72), (120, 64), (1, 10_000), (10_000, 1)])
def test_a_resolution_below_the_step_of_buckets_is_no_mistake(picture: tuple[int, int]) -> None:
    buckets = Buckets(no_upscale=True)
    found = fit(picture, (64, 64), buckets, [])
    assert min(found.size) == 64 and found.resized[0] >= found.size[0] and found.resized[1] >= found.size[1]
