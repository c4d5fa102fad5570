"""Paths that a person wrote: home folders that are there or not, and paths that no file can have."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training import config, kohya, textfile
from training.base.header import read_header
from training.cli import app
from training.errors import InputError
from training.usable_path import usable_path

NOBODY = "~no-such-user/x"
SAID = "there is no user 'no-such-user' on this machine; write the whole path"


def test_home_folders_are_looked_up() -> None:
    assert usable_path("~/x") == Path.home() / "x"
    assert usable_path("~root") == Path("~root").expanduser()
    assert usable_path("a/~b") == Path("a/~b")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (NOBODY, SAID),
        ("~no\0body", "null character|no user"),
        ("a\0b", "has a null character in it, which no path has"),
        ("\ud800", "has half a character in it"),
        ("x" * 300, "is too long: a name has 255 bytes at most"),
        ("x/" * 3000, "is too long"),
    ],
)
def test_what_can_be_no_path_is_a_sentence(path: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        usable_path(path)
    assert len(str(caught.value)) < 300


def test_without_a_home_folder_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    with pytest.raises(ValueError, match="your home folder is not known; write the whole path"):
        usable_path("~/x")


def test_a_file_with_a_backslash_in_its_name_is_found_and_another_is_a_windows_path(tmp_path: Path) -> None:
    file = tmp_path / "loras\\ink.safetensors"
    with pytest.raises(ValueError, match="is a Windows path"):
        usable_path(file)
    file.touch()
    assert usable_path(file) == file


def test_a_config_of_ours_names_each_key(tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    file.write_text(
        f'name = "x"\nmodel.checkpoint = "{NOBODY}"\ndata.subsets = [{{ folder = "{NOBODY}" }}]\n'
        f'sample.prompts_file = "{NOBODY}"\n'
    )
    with pytest.raises(InputError) as caught:
        config.load_config(file)
    keys = ("model.checkpoint", "data.subsets.0.folder", "sample.prompts_file")
    assert caught.value.problems == tuple(f"{file}: {key}: {NOBODY!r}: {SAID}" for key in keys)


def test_a_config_of_kohyas_names_each_key(tmp_path: Path) -> None:
    file = tmp_path / "kohya.toml"
    keys = ("tokenizer_cache_dir", "sample_prompts", "train_data_dir", "pretrained_model_name_or_path")
    file.write_text("".join(f'{key} = "{NOBODY}"\n' for key in keys) + "resolution = 512\n")
    with pytest.raises(InputError) as caught:
        kohya.load_any(file, tmp_path)
    assert caught.value.problems == tuple(f"{file}: {key}: {NOBODY!r}: {SAID}" for key in keys)


def test_a_script_that_goes_there_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "train.sh"
    file.write_text(f"cd {NOBODY}\naccelerate launch train_network.py --seed 1\n")
    with pytest.raises(InputError, match=f"line 1: cd: '{NOBODY}': {SAID}"):
        kohya.load_any(file)


@pytest.mark.parametrize(
    ("words", "code"),
    [(("run", "ours.toml", "--run", r"C:\runs\a"), 2), (("reproduce", "run", "--run", "https://e.example/a"), 2)],
)
def test_no_folder_of_a_run_gets_the_name_of_a_windows_path_or_a_url(
    words: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code and re.search("is a Windows path|is a URL", done.output)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [textfile.read_text, read_header])
def test_a_missing_file_is_named_for_what_its_path_is(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a Windows path; write its path on this machine, with /$"):
        read(Path(r"D:\train.toml"))
    with pytest.raises(InputError, match=r"no such file$"):
        read(tmp_path / "train.toml")
