"""Strange files, numbers and paths through `lora-train`'s file commands: a result or a sentence, never a traceback."""

import json
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from tests.training import tiny
from training import textfile
from training.cli import app
from training.errors import InputError, TrainingError
from training.options import share

pytestmark = pytest.mark.slow

DIGITS = "9" * 5000  # more than Python reads as a number
UNET = "model.diffusion_model."
NAME = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


def lora(name: str = NAME, alpha: Any = 1.0, dtype: torch.dtype = torch.float32, **more: Tensor) -> dict[str, Tensor]:
    """A LoRA of one module of rank 2 on a layer of 4 by 4; `more` are further tensors of it."""
    parts = {"lora_up.weight": torch.ones(4, 2, dtype=dtype), "lora_down.weight": torch.ones(2, 4, dtype=dtype)}
    tensors = {f"{name}.{part}": tensor for part, tensor in (parts | more).items()}
    return tensors | {f"{name}.alpha": alpha if isinstance(alpha, Tensor) else torch.tensor(alpha)}


def tagged(tags: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    return lora(), {"ss_tag_frequency": tags}


LORAS: dict[str, Any] = {
    "a block of 5000 digits": lora(f"lora_unet_down_blocks_{DIGITS}_attentions_0"),
    "an input block of 5000 digits": lora(f"lora_unet_input_blocks_{DIGITS}_1_x"),
    "a block with a digit of another script": lora("lora_unet_down_blocks_\u0663_attn"),
    "a ninth text encoder": lora("lora_te9_x"),
    "no name": lora(""),
    "dots": lora("lora_unet_.x..y"),
    "a name of 100000 characters": lora("lora_unet_" + "x" * 100_000),
    **{f"alpha {alpha}": lora(alpha=alpha) for alpha in (float("inf"), float("nan"), 3e38, 0.0, -1.0)},
    "alpha of 64 bits": lora(alpha=torch.tensor(2**62)),
    "alpha true": lora(alpha=torch.tensor(True)),
    "alpha 1e300": lora(alpha=torch.tensor(1e300, dtype=torch.float64)),
    "three alphas": lora(alpha=torch.ones(3)),
    **{f"weights of {dtype}": lora(dtype=dtype) for dtype in (torch.int8, torch.bool, torch.int64, torch.float64)},
    "weights of 1e300": {name: tensor.double() * 1e300 for name, tensor in lora().items()},
    "weights of no axis": {name: torch.tensor(1.0) for name in lora()},
    "weights of five axes": {
        f"{NAME}.lora_up.weight": torch.ones(4, 2, 1, 1, 1),
        f"{NAME}.lora_down.weight": torch.ones(2, 4, 3, 3, 3),
    },
    "magnitudes of nothing": lora(dora_scale=torch.ones(0)),
    "a single magnitude": lora(dora_scale=torch.tensor(1.0)),
    "tags counted to infinity": tagged('{"a": {"b": 1e999}}'),
    "tags counted with 5000 digits": tagged(f'{{"a": {{"b": {DIGITS}}}}}'),
    "tags nested deep": tagged("[" * 100_000),
    "tags of another shape": tagged('{"a": {"b": "x"}}'),
    "metadata that acts on terminals": (lora(), {"ss_training_comment": "\x1b[31m\u202e", "ss_network_dim": DIGITS}),
}
CHECKPOINTS: dict[str, dict[str, Tensor]] = {
    "a downsampler without a number": {f"{UNET}input_blocks.x.0.op.weight": torch.ones(2, 2)},
    "a downsampler beside the blocks": {f"{UNET}0.op.weight": torch.ones(2, 2)},
    "a downsampler as the first block": {f"{UNET}input_blocks.0.0.op.weight": torch.ones(2, 2)},
    "a block of 5000 digits": {f"{UNET}input_blocks.{DIGITS}.0.in_layers.2.weight": torch.ones(2, 2)},
    "a block with a digit of another script": {f"{UNET}input_blocks.\u0663.0.in_layers.2.weight": torch.ones(2, 2)},
    "a fused weight of two rows": {
        "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight": torch.ones(2, 4)
    },
}


def tried(*words: object) -> tuple[int, str]:
    """Exit code and output of `lora-train`; 1 or 2 for an error in sentences. Any other error is raised."""
    done = CliRunner().invoke(app, list(map(str, words)))
    if isinstance(done.exception, TrainingError | OSError):  # what the console script prints as a sentence
        return getattr(done.exception, "exit_code", 1), f"{done.output}{done.exception}"
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def saved(file: Path, content: Any) -> Path:
    tensors, metadata = content if isinstance(content, tuple) else (content, None)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata)
    return file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.sd1(tmp_path_factory.mktemp("base") / "sd1.safetensors")


def sound(output: Path) -> None:
    """Whatever was written is sound."""
    if output.exists():
        assert all(tensor.float().isfinite().all() for tensor in load_file(output).values())
        output.unlink()


@pytest.mark.parametrize("case", LORAS)
def test_lora_files(case: str, tmp_path: Path, base: Path) -> None:
    file, other = saved(tmp_path / "odd.safetensors", LORAS[case]), saved(tmp_path / "sound.safetensors", lora())
    output = tmp_path / "out.safetensors"
    tried("inspect", file)
    for words in (
        ("merge", file),
        ("merge", f"{file}=0.5", other, "--rank", 1),
        ("merge", other, file, "--precision", "fp16"),
        ("merge", file, "--into", base),
        ("resize", file, "--rank", 1),
        ("resize", file, "--energy", 0.5),
    ):
        tried(*words, "-o", output)
        sound(output)


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_checkpoints(case: str, tmp_path: Path, base: Path) -> None:
    odd = saved(tmp_path / "odd.safetensors", load_file(base) | CHECKPOINTS[case])
    output = tmp_path / "out.safetensors"
    for words in (
        ("merge", saved(tmp_path / "lora.safetensors", lora()), "--into", odd),
        ("extract", odd, base, "--rank", 1, "--conv-rank", 1),
        ("extract", base, odd, "--energy", 0.9),
    ):
        tried(*words, "-o", output)
        sound(output)


@pytest.mark.parametrize("strength", ["nan", "inf", "-inf", "1e999", "", "0x10", DIGITS[:200]])
def test_strengths_that_are_no_numbers(strength: str, tmp_path: Path, base: Path) -> None:
    file, output = saved(tmp_path / "a.safetensors", lora()), tmp_path / "out.safetensors"
    for more in ((), ("--into", base)):
        code, said = tried("merge", f"{file}={strength}", "-o", output, *more)
        if strength != DIGITS[:200]:
            assert code == 2 and "the strength after = must be a number" in said
        assert code and not output.exists()


NUMBERS = ("9" * 400, DIGITS, "1e999", "-1", "0", "nan", "\u0663")


@pytest.mark.parametrize("number", NUMBERS, ids=range(len(NUMBERS)))
def test_numbers_of_options(number: str, tmp_path: Path, base: Path) -> None:
    file, output = saved(tmp_path / "a.safetensors", lora()), tmp_path / "out.safetensors"
    for option in ("--rank", "--energy", "--conv-rank"):
        for words in (("resize", file), ("extract", base, base), ("merge", file)):
            tried(*words, "-o", output, option, number)
            sound(output)


@pytest.mark.parametrize("number", ["nan", "-nan", "inf", "-inf", "-0.1", "1.0001", "50", "1e999", "half", ""])
def test_shares_are_refused_with_their_range(number: str, tmp_path: Path) -> None:
    file, output = saved(tmp_path / "a.safetensors", lora()), tmp_path / "out.safetensors"
    for words in (
        ("resize", file, "-o", output, "--energy"),
        ("extract", file, file, "-o", output, "--energy"),
        ("caption", tmp_path, "--threshold"),
        ("caption", tmp_path, "--character-threshold"),
    ):
        code, said = tried(*words, number)
        assert code == 2 and "must be a number from 0 to 1" in said, said
    assert not output.exists()


@pytest.mark.parametrize("number", ["nan", "-1", "0", "1.5", "1e3", "1_0", "0x10", "\u0663", "many", ""])
def test_counts_are_refused_with_their_range(number: str, tmp_path: Path) -> None:
    file, output = saved(tmp_path / "a.safetensors", lora()), tmp_path / "out.safetensors"
    for words in (
        ("resize", file, "-o", output, "--rank"),
        ("merge", file, "-o", output, "--rank"),
        ("extract", file, file, "-o", output, "--conv-rank"),
        ("dataset", tmp_path, "--epochs"),
        ("caption", tmp_path, "--batch"),
        ("run", file, "--run", tmp_path, "--nodes"),
    ):
        code, said = tried(*words, number)
        assert code == 2 and "must be a whole number, at least 1" in said, said
    assert not output.exists()
    assert "must be at most 1000000000000" in tried("resize", file, "-o", output, "--rank", 10**15)[1]


def test_every_option_that_takes_a_fraction_has_its_range_checked() -> None:
    """click's own range of floats takes NaN."""
    fractions = [
        hint.__metadata__[0]
        for command in app.registered_commands
        for hint in typing.get_type_hints(command.callback, include_extras=True).values()
        if hasattr(hint, "__metadata__") and float in {hint.__origin__, *typing.get_args(hint.__origin__)}
    ]
    assert len(fractions) > 3
    assert all(option.parser is share for option in fractions)


PLACES: Sequence[str] = (
    *("", ".", " ", "-", "=", "a=", "=1", "\n", "~", "~nouser/x", "/", "\udcff", "x" * 300, "x/" * 3000, "\0", "a\0b"),
    *("C:\\x\\y.safetensors", "https://example.org/a.safetensors", "\ud800"),
)


@pytest.mark.parametrize("place", PLACES, ids=range(len(PLACES)))
def test_paths(place: str, tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, output = saved(tmp_path / "a.safetensors", lora()), tmp_path / "out.safetensors"
    for path in (place, f"{place}.safetensors"):
        for words in (
            ("inspect", path),
            ("merge", path, "-o", output),
            ("merge", file, "--into", path, "-o", output),
            ("merge", file, "-o", path),
            ("resize", path, "-o", output, "--rank", 1),
            ("extract", path, base, "-o", output, "--rank", 1),
            ("convert", path),
            ("convert", file, "--base", path),
            ("check", path),
            ("dataset", path),
            ("run", path, "--run", output),
        ):
            tried(*words)


def test_a_checkpoint_that_is_given_as_a_config_is_not_read_into_the_memory(tmp_path: Path) -> None:
    large = tmp_path / "model.toml"
    with large.open("wb") as stream:
        stream.truncate(100 * 2**30)
    for read in (textfile.read_text, textfile.read_toml, textfile.read_json):
        with pytest.raises(InputError, match=r"model\.toml: is larger than 64 MiB; expected a text file"):
            read(large)


def test_modules_of_scale_0_merge_to_what_the_others_add(tmp_path: Path) -> None:
    nothing, some = saved(tmp_path / "a.safetensors", lora(alpha=0.0)), saved(tmp_path / "b.safetensors", lora())
    output = tmp_path / "out.safetensors"
    assert tried("merge", nothing, some, "-o", output)[0] == 0
    merged = load_file(output)
    up, down = (merged[f"{NAME}.{part}.weight"] for part in ("lora_up", "lora_down"))
    scale = float(merged[f"{NAME}.alpha"]) / len(down)
    assert torch.allclose(scale * up @ down, torch.full((4, 4), 1.0))


def test_a_downsampler_that_is_none_changes_no_names(tmp_path: Path, base: Path) -> None:
    """A merge into a checkpoint with a foreign tensor changes the same layer as without."""
    odd = saved(tmp_path / "odd.safetensors", load_file(base) | CHECKPOINTS["a downsampler without a number"])
    file = tmp_path / "lora.safetensors"
    key = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    size = load_file(base)[key].shape
    saved(file, {f"{NAME}.lora_up.weight": torch.ones(size[0], 1), f"{NAME}.lora_down.weight": torch.ones(1, size[1])})
    code, said = tried("merge", file, "--into", odd, "-o", tmp_path / "out.safetensors")
    assert (code, said.strip().endswith("1 layers changed")) == (0, True), said
    assert json.dumps(sorted(load_file(tmp_path / "out.safetensors"))) == json.dumps(sorted(load_file(odd)))
    assert torch.allclose(load_file(tmp_path / "out.safetensors")[key], load_file(base)[key] + 1)
