"""`lora-train dataset`: real photographs, and a folder in which everything is broken."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab import photos
from tests.training import tiny
from training import cli
from training.config import Config, parse_config
from training.memory import estimate
from training.review import report
from training.review.command import config_of
from training.review.dataset import Review, review
from training.sections.model import Family

pytestmark = pytest.mark.slow


def config(folder: Path, **tables: object) -> Config:
    """A config over the dataset in `folder`."""
    raw = {"name": "set", "model": {"checkpoint": "none"}, "data": {"folder": str(folder), "resolution": 64}}
    return parse_config({**raw, **tables}, folder / "config.toml")


def looked_at(folder: Path, **tables: object) -> Review:
    """The review, its captions counted in words."""
    return review(config(folder, **tables), "sd1", lambda text: len(text.split()))


def noise(seed: int, size: tuple[int, int] = (80, 80), mode: str = "RGB") -> Image.Image:
    """A picture unlike any of another seed."""
    draw = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(draw).resize(size, Image.Resampling.BICUBIC).convert(mode)


def halved(picture: Image.Image, file: Path) -> int:
    """Write half of a picture's file."""
    picture.save(file)
    return file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _broken(folder: Path) -> dict[str, str]:
    """30 files with something wrong, and the words that each must be named with."""
    one = folder / "2_cat"
    one.mkdir(parents=True)
    wanted: dict[str, str] = {}

    def add(name: str, words: str, make: Callable[[Path], object], caption: str | bytes | None = "cat") -> None:
        make(one / name)
        if caption is not None:
            text = caption if isinstance(caption, bytes) else caption.encode()
            (one / name).with_suffix(".txt").write_bytes(text)
        wanted[name] = words

    add("empty.png", "cannot be read", lambda f: f.touch())
    add("text.png", "cannot be read", lambda f: f.write_text("no picture"))
    add("page.jpg", "cannot be read", lambda f: f.write_text("<!doctype html><title>404</title>"))
    add("json.webp", "cannot be read", lambda f: f.write_text('{"error": "login"}'))
    add("zeros.bmp", "cannot be read", lambda f: f.write_bytes(bytes(4000)))
    add("bytes.avif", "cannot be read", lambda f: f.write_bytes(np.random.default_rng(1).bytes(4000)))
    add("half.png", "cannot be read", lambda f: halved(noise(1), f))
    add("half.jpg", "cannot be read", lambda f: halved(noise(2), f))
    add("half.webp", "cannot be read", lambda f: halved(noise(3), f))
    add("header.png", "cannot be read", lambda f: f.write_bytes(b"\x89PNG\r\n\x1a\n"))
    add("folder.png", "cannot be read", lambda f: f.mkdir())
    add("gone.png", "cannot be read", lambda f: f.symlink_to("nowhere.png"))
    add("cmyk.jpg", "CMYK", lambda f: noise(4, mode="CMYK").save(f))
    add(
        "deep.png",
        "more than 8 bits",
        lambda f: Image.fromarray(np.arange(6400, dtype=np.uint16).reshape(80, 80)).save(f),
    )
    add("grey.png", "is grey", lambda f: noise(5, mode="L").save(f))
    add("bits.png", "is grey", lambda f: noise(6, mode="1").save(f))
    add("moving.webp", "is animated", lambda f: noise(7).save(f, save_all=True, append_images=[noise(8)]))
    add("turned.jpg", "turned by its EXIF", lambda f: noise(9).save(f, exif=_turned()))
    add("glass.png", "has transparency", lambda f: noise(10, mode="RGBA").save(f))
    add("tiny.png", "is small (9x9)", lambda f: noise(11, (9, 9)).save(f))
    add("long.png", "loses", lambda f: noise(12, (2000, 70)).save(f))
    add("first.png", "", lambda f: noise(13).save(f))
    add("second.png", "is the same file as first.png", lambda f: noise(13).save(f))
    add("third.jpg", "looks the same as first.png", lambda f: noise(13).save(f, quality=80))
    add("silent.png", "has no caption; 'cat' from the folder's name is used", lambda f: noise(14).save(f), None)
    add("blank.png", "is empty", lambda f: noise(15).save(f), "  \n")
    add("latin.png", "is not readable as UTF-8", lambda f: noise(16).save(f), b"caf\xe9")
    add("wordy.png", "has 80 tokens; what comes after 75 is not read", lambda f: noise(17).save(f), "word " * 80)
    add("shout.png", "", lambda f: noise(19).save(f), None)
    (one / "shout.TXT").write_text("a cat")
    wanted["shout.TXT"] = "is not read: the ending must be .txt, in small letters"
    add("lines.png", "has several lines", lambda f: noise(18).save(f), "one\ntwo")
    (one / "lonely.txt").write_text("of nothing")
    wanted["lonely.txt"] = "belongs to no picture"
    (one / "film.mp4").touch()
    wanted["film.mp4"] = "is left out"
    (folder / "cats").mkdir()
    wanted["cats"] = "its name is not N_name"
    return wanted


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_every_broken_file_is_named_and_none_ends_the_review(tmp_path: Path) -> None:
    wanted = {name: words for name, words in _broken(tmp_path / "set").items() if words}
    assert len(wanted) >= 30
    found = looked_at(tmp_path / "set")
    for name, words in wanted.items():
        said = [f.text for f in found.findings if f.path.stem == Path(name).stem]
        assert any(words in text for text in said), (name, words, said)
    page = report.html_page(found, tmp_path / "set")
    assert page.count("<figure") == len(found.members)


def test_real_photographs_are_in_order_and_counted(tmp_path: Path) -> None:
    photos.write_training_set(tmp_path / "set", size=64, repeats=3)
    found = looked_at(tmp_path / "set", train={"batch_size": 2, "epochs": 4})
    assert {finding.grade for finding in found.findings} <= {"note"}
    assert (len(found.members), found.steps_per_epoch, found.steps) == (12, 18, 72)
    assert found.buckets == [((64, 64), 12, 36, 0.0)]


def test_the_command_writes_a_page_that_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _broken(tmp_path / "set")
    tiny.tokenizer(tmp_path / "tokenizer")
    sheet = tmp_path / "sheet.html"
    arguments = ["dataset", tmp_path / "set", "--sheet", sheet, "--tokenizer", tmp_path / "tokenizer"]
    monkeypatch.setattr(sys, "argv", ["lora-train", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.run()
    assert stopped.value.code == 1
    said = capsys.readouterr()
    assert "2_cat/half.png: cannot be read" in said.out
    assert "finding(s) must be fixed before training; see above" in said.err
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", sheet.read_text())


def test_tokens_are_counted_with_a_tokenizer_in_one_file_and_a_damaged_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set/2_cat").mkdir(parents=True)
    noise(1).save(tmp_path / "set/2_cat/a.png")
    (tmp_path / "set/2_cat/a.txt").write_text("x" * 90)
    folder = tiny.tokenizer_json(tmp_path / "tokenizer")
    monkeypatch.setattr(sys, "argv", ["lora-train", "dataset", str(tmp_path / "set"), "--tokenizer", str(folder)])
    with pytest.raises(SystemExit) as done:
        cli.run()
    assert not done.value.code and "90 tokens" in capsys.readouterr().out
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(SystemExit) as stopped:
        cli.run()
    assert stopped.value.code == 2
    assert f"{folder}: its tokenizer cannot be read (" in capsys.readouterr().err


def test_folders_and_names_that_are_read_otherwise_than_meant(tmp_path: Path) -> None:
    for place in ("10 thing", "outer/7_inner", "3_thing", "3_thing/more"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        noise(len(place)).save(tmp_path / place / "a.png")
    noise(99).save(tmp_path / "3_thing/a.jpg")
    (tmp_path / "3_thing/a.txt").write_text("first, cat\nsecond, dog\n")
    said = {str(finding.path.relative_to(tmp_path)): finding.text for finding in looked_at(tmp_path).findings}
    assert "call it 10_thing to show its pictures 10 times" in said["10 thing"]
    assert "7_inner lies one folder too deep; move it up, or name this folder as data.folder" in said["outer"]
    assert "folders inside 3_thing are not read; move its pictures up" in said["3_thing/more"]
    assert "shares its caption file with a.jpg" in said["3_thing/a.png"]
    assert "joined to one; sd-scripts reads the first alone" in said["3_thing/a.txt"]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_costs_grow_as_they_should(tmp_path: Path, family: Family) -> None:
    def of(**train: object) -> tuple[float, float]:
        own = config(tmp_path, train={"precision": "fp32", **train})
        return estimate.estimate_memory(own, family).allocated, estimate.estimate_flop(own, family, 100)

    plain, half = of(), of(precision="bf16")
    assert half[0] < plain[0] and half[1] == plain[1]
    assert of(gradient_checkpointing=True)[1] == 1.5 * plain[1]
    assert of(batch_size=4)[0] > plain[0]
    assert estimate.hours(plain[1], 10) == pytest.approx(plain[1] / 1e13 / 3600)


def test_a_caption_that_two_pictures_share_is_told_once(tmp_path: Path) -> None:
    folder = tmp_path / "1_cat"
    folder.mkdir()
    for ending in ("png", "jpg"):
        noise(1).save(folder / f"a.{ending}")
    (folder / "a.txt").write_text("one\ntwo")
    found = review(config_of(tmp_path, 64, 1, 1), None, None).findings
    assert sum("has several lines" in finding.text for finding in found) == 1
