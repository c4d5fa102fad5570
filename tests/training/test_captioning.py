"""`lora-train caption`: real BLIP and ONNX models, small and untrained, over real photographs."""

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

from lab import photos
from training import cli
from training.captioning.tagger import square

pytestmark = pytest.mark.slow

TAGS = [("9", "general"), ("0", "long_hair"), ("0", "red"), ("0", "^_^"), ("4", "some_one")]
SIDE = 16


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger whose scores are sigmoids of the mean blue, green and red."""
    folder = tmp_path_factory.mktemp("tagger")
    weights = np.zeros((3, len(TAGS)), np.float32)
    weights[:, 2] = (-0.1, 0, 0.1)  # red where the picture has more red than blue; BGR
    bias = np.array([3, 2, -12, 1, 3], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    values: dict[str, np.ndarray[Any, Any]] = {"axes": np.array([1, 2], np.int64), "weights": weights, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", len(TAGS)])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    with (folder / "selected_tags.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tag_id", "name", "category", "count"])
        writer.writerows([index, name, category, 1] for index, (category, name) in enumerate(TAGS))
    return folder


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BLIP of a few thousand weights that were never trained."""
    folder = tmp_path_factory.mktemp("blip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(words))
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        "vocab_size": len(words),
        "bos_token_id": 5,
        "sep_token_id": 3,
        "pad_token_id": 0,
        "encoder_hidden_size": 32,
    }
    config = BlipConfig(
        text_config={**small, **text, "eos_token_id": 3}, vision_config={**small, "image_size": 32}, projection_dim=16
    )
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    processor = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(processor, BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Real photographs without captions."""
    folder = photos.write_training_set(tmp_path / "set", size=64)
    for file in folder.glob("*.txt"):
        file.unlink()
    return folder


def caption(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of `lora-train caption`."""
    monkeypatch.setattr(sys, "argv", ["lora-train", "caption", *map(str, arguments), "--device", "cpu"])
    with pytest.raises(SystemExit) as stopped:
        cli.run()
    return int(stopped.value.code or 0)


def test_tags_are_chosen_framed_and_ordered(
    pictures: Path, tagger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (50, 40), "red").save(pictures / "red.png")
    options = ["--model", tagger, "--trigger", "ohwx", "--suffix", "photo", "--blacklist", "some_one", "--batch", 5]
    assert caption(monkeypatch, pictures, *options) == 0
    assert "13 captions written" in capsys.readouterr().out
    assert (pictures / "red.txt").read_text() == "ohwx, red, long hair, ^_^, photo\n"
    assert "red" not in (pictures / "camera.txt").read_text().split(", ")


def test_a_second_run_goes_on_and_keeps_what_a_person_wrote(
    pictures: Path, tagger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "coffee.txt").write_text("my own words")
    assert caption(monkeypatch, pictures, "--model", tagger) == 0
    (pictures / "coins.txt").write_text("changed by hand")
    (pictures / "rocket.txt").unlink()
    capsys.readouterr()
    assert caption(monkeypatch, pictures, "--model", tagger) == 0
    assert "1 captions written, 9 were done before, 2 by hand kept" in capsys.readouterr().out
    assert caption(monkeypatch, pictures, "--model", tagger, "--trigger", "new") == 0
    assert (pictures / "rocket.txt").read_text().startswith("new, ")
    assert (pictures / "coffee.txt").read_text() == "my own words"
    assert (pictures / "coins.txt").read_text() == "changed by hand"
    assert caption(monkeypatch, pictures, "--model", tagger, "--overwrite") == 0
    assert (pictures / "coffee.txt").read_text() != "my own words"


def test_unreadable_pictures_are_named_and_the_others_captioned(
    pictures: Path, tagger: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "broken.png").write_text("no picture")
    assert caption(monkeypatch, pictures, "--model", tagger) == 1
    printed = capsys.readouterr()
    assert "broken.png: is no readable picture" in printed.out
    assert "12 captions written" in printed.out
    assert "1 of 13 pictures have no caption" in printed.err


def test_blip_describes_each_picture_the_same_every_time(
    pictures: Path, blip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert caption(monkeypatch, pictures, "--with", "blip", "--model", blip, "--prefix", "a photo of") == 0
    first = {file.name: file.read_text() for file in pictures.glob("*.txt")}
    assert len(first) == 12 and all(text.startswith("a photo of") for text in first.values())
    for file in pictures.glob("*.txt"):
        file.unlink()
    assert caption(monkeypatch, pictures, "--with", "blip", "--model", blip, "--prefix", "a photo of") == 0
    assert {file.name: file.read_text() for file in pictures.glob("*.txt")} == first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "no/such"], "--model no/such: holds no model.onnx"),
        (["--with", "blip", "--model", "."], "--model .: holds no config.json"),
        (["--extension", ".md"], "must be .txt or .caption"),
    ],
)
def test_wrong_calls_are_one_sentence(
    arguments: list[str],
    sentence: str,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(pictures)
    assert caption(monkeypatch, pictures, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_the_tagger_is_given_what_its_authors_give_it() -> None:
    given = square(Image.new("RGB", (20, 10), (255, 0, 10)), 20)
    assert given.shape == (20, 20, 3) and given.dtype == np.float32
    assert list(given[0, 0]) == [255, 255, 255]
    assert list(given[10, 10]) == [10, 0, 255]
