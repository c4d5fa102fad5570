"""The file commands of `lora-train`, as a person runs them."""

import sys
from pathlib import Path

import pytest

from tests.training.checkpoints import checkpoint, save
from tests.training.test_file_tools import lora
from training import cli
from training.lora import lorafile

pytestmark = pytest.mark.slow

FILES = Path(__file__).parent / "kohya_files"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of `lora-train` with `arguments`."""
    monkeypatch.setattr(sys, "argv", ["lora-train", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.run()
    return int(stopped.value.code or 0)


def test_a_file_goes_through_all_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, small = tmp_path / "a.safetensors", tmp_path / "small.safetensors"
    base, tuned = save(tmp_path / "base.safetensors", checkpoint("sd1")), tmp_path / "tuned.safetensors"
    lorafile.write_lora(source, lora(conv=False).tensors, {})

    assert run(monkeypatch, "resize", source, "-o", small, "--energy", "0.8", "--rank", "2") == 0
    assert "of the squared norm kept" in capsys.readouterr().out
    assert run(monkeypatch, "merge", f"{source}=0.7", small, "-o", tmp_path / "sum.safetensors") == 0
    assert run(monkeypatch, "merge", source, "--into", base, "-o", tuned) == 0
    assert "layers changed" in capsys.readouterr().out
    assert run(monkeypatch, "extract", base, tuned, "-o", tmp_path / "out.safetensors", "--rank", "3") == 0
    assert "99." in (out := capsys.readouterr().out) or "100.00%" in out
    assert run(monkeypatch, "inspect", tmp_path / "out.safetensors") == 0
    assert "Strength by block" in capsys.readouterr().out


def test_metadata_of_others_does_nothing_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "[/x]\x1b]52;c;ZXZpbA==\x07\x9b31m\u202e"
    names = ("ss_output_name", "ss_sd_model_name", "ss_training_comment", "ss_network_module", "modelspec.title")
    lorafile.write_lora(tmp_path / "a.safetensors", lora(conv=False).tensors, dict.fromkeys(names, hostile))
    assert run(monkeypatch, "inspect", tmp_path / "a.safetensors") == 0
    said = capsys.readouterr()
    assert "[/x]\\u001b]52;c;ZXZpbA==" in said.out
    assert not set(said.out + said.err) & set("\x1b\x07\x9b\u202e")


def test_convert_prints_ours_and_reports_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "convert", FILES / "sections.toml", "--base", tmp_path) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("# Converted from sections.toml.\n")
    assert 'kind = "AdamW8bit" # optimizer_type' in printed.out
    assert "network_dim = 24 -> network.rank = 24" in printed.err
    ours = tmp_path / "ours.toml"
    ours.write_text(printed.out)
    assert run(monkeypatch, "convert", ours) == 2
    assert "needs no conversion" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("resize", "A", "-o", "A", "--rank", "1"), "is an input too"),
        (("resize", "A", "-o", "b.safetensors"), "give --rank, --energy or both"),
        (("resize", "A", "-o", "b.ckpt", "--rank", "1"), "must end in .safetensors"),
        (("merge", "A=lots", "-o", "b.safetensors"), "the strength after = must be a number"),
        (("merge", "A", "--into", "B", "--rank", "1", "-o", "b.safetensors"), "a checkpoint has none"),
        (("inspect", "nowhere.safetensors"), "no such file"),
        (("inspect", "B"), "holds no LoRA module"),
        (("merge", "A", "--into", "A", "-o", "b.safetensors"), "is no single-file checkpoint"),
        (("extract", "A", "B", "-o", "b.safetensors", "--rank", "1"), "both must be single-file checkpoints"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(
    arguments: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    lorafile.write_lora(tmp_path / "A", lora(conv=False).tensors, {})
    save(tmp_path / "B", checkpoint("sd1"))
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"A", "B"}
