"""LoRA files that are not sound: one sentence, exit code 2, nothing written."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.checkpoints import checkpoint, save
from training import cli
from training.errors import TrainingError
from training.lora import deltas, lorafile, merge, validity
from training.lora.merge import WeightedSource

pytestmark = pytest.mark.slow

MODULE = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k"


def run(*arguments: object) -> int:
    """The exit code of `lora-train` with `arguments`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lora-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.run()
    return int(stopped.value.code or 0)


def lora(rank: int = 2, into: int = 16, out: int = 16, name: str = MODULE) -> dict[str, Tensor]:
    """One module."""
    return {
        f"{name}.lora_down.weight": torch.randn(rank, into) * 0.1,
        f"{name}.lora_up.weight": torch.randn(out, rank) * 0.1,
        f"{name}.alpha": torch.tensor(1.0),
    }


def nan() -> dict[str, Tensor]:
    return {**lora(), f"{MODULE}.lora_up.weight": torch.full((16, 2), float("nan"))}


BAD: dict[str, tuple[dict[str, Tensor], str]] = {
    "nan": (nan(), "lora_up.weight holds NaN or infinity"),
    "sizes differ": (
        {**lora(), f"{MODULE}.lora_up.weight": torch.randn(16, 3)},
        "has factors that do not fit each other",
    ),
    "rank 0": (lora(rank=0), "has rank 0"),
    "half a LoHa": ({f"{MODULE}.hada_w1_a": torch.randn(4, 2)}, "do not fit"),
    "alpha of two": ({**lora(), f"{MODULE}.alpha": torch.ones(2)}, "has an alpha that is not one number"),
    "norms beside": ({**lora(), f"{MODULE}.w_norm": torch.ones(2)}, "holds w_norm, which would be left out"),
    "glora": ({f"{MODULE}.a1.weight": torch.ones(2, 2)}, "is GLoRA of LyCORIS, which is not read here"),
    "oft": ({f"{MODULE}.oft_blocks": torch.ones(2, 2)}, "is OFT or BOFT of LyCORIS, which is not read here"),
    "nothing": ({f"{MODULE}.odd": torch.ones(2, 2)}, "holds no weights of a known network (odd)"),
    "enormous": (
        {f"{MODULE}.lora_down.weight": torch.ones(1, 40000), f"{MODULE}.lora_up.weight": torch.ones(40000, 1)},
        "is of a larger layer than any model has",
    ),
    "two families": (
        {**lora(into=768, name=MODULE.replace("attn1", "attn2")), **lora(name="lora_unet_input_blocks_4_1_proj_in")},
        "mixes modules for SD 1.5 and SDXL",
    ),
    "peft names": (
        {
            "unet.down_blocks.0.to_q.lora_A.weight": torch.ones(2, 2),
            "unet.down_blocks.0.to_q.lora_B.weight": torch.ones(2, 2),
        },
        "is named as by diffusers or PEFT",
    ),
    "quantised": (
        {**lora(), f"{MODULE}.lora_up.weight": torch.ones(16, 2, dtype=torch.int8)},
        "lora_up.weight is quantised (int8), which is not read here",
    ),
    "empty": ({}, "holds no tensor"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("tool", ["merge", "resize", "into"])
def test_no_tool_reads_what_is_not_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tool: str, name: str
) -> None:
    tensors, sentence = BAD[name]
    source, target = tmp_path / "bad.safetensors", tmp_path / "out.safetensors"
    lorafile.write_lora(source, tensors, {})
    more: list[object] = {"merge": [], "resize": ["--rank", 1], "into": ["--into", tmp_path / "base.safetensors"]}[tool]
    if tool == "into":
        save(tmp_path / "base.safetensors", checkpoint("sd1"))
    assert run("resize" if tool == "resize" else "merge", source, "-o", target, *more) == 2
    assert sentence in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("nothing", "empty")])
def test_inspect_names_what_is_not_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    tensors, sentence = BAD[name]
    lorafile.write_lora(tmp_path / "bad.safetensors", tensors, {})
    assert run("inspect", tmp_path / "bad.safetensors") == 0
    assert sentence in capsys.readouterr().out


def test_files_of_two_families_are_not_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "sd15.safetensors", tmp_path / "sdxl.safetensors"
    lorafile.write_lora(one, lora(into=768, name=MODULE.replace("attn1", "attn2")), {})
    lorafile.write_lora(two, lora(into=2048, name="lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"), {})
    assert run("merge", one, two, "-o", tmp_path / "out.safetensors") == 2
    assert "sd15.safetensors, sdxl.safetensors: mixes modules for SD 1.5 and SDXL" in capsys.readouterr().err


def test_fp8_files_are_read_and_written_as_fp16(tmp_path: Path) -> None:
    source, target = tmp_path / "fp8.safetensors", tmp_path / "out.safetensors"
    tensors = {key: value.to(torch.float8_e4m3fn) if value.dim() else value for key, value in lora().items()}
    lorafile.write_lora(source, tensors, {})
    for arguments in (
        ("inspect", source),
        ("resize", source, "-o", target, "--rank", 2),
        ("merge", source, "-o", target),
    ):
        assert run(*arguments) == 0
    found = lorafile.read_safetensors(target)
    assert found.tensors[f"{MODULE}.lora_up.weight"].dtype == torch.float16
    before = deltas.delta(lorafile.read_safetensors(source).modules()[MODULE])
    assert torch.allclose(deltas.delta(found.modules()[MODULE]), before, atol=1e-4)


def test_a_bias_is_merged_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = "model.diffusion_model.input_blocks.1.1.proj_in"
    base = checkpoint("sd1")
    width = base[f"{key}.weight"].shape[0]
    base[f"{key}.bias"] = torch.zeros(width)
    save(tmp_path / "base.safetensors", base)
    name = "lora_unet_down_blocks_0_attentions_0_proj_in"
    source, target = tmp_path / "bias.safetensors", tmp_path / "out.safetensors"
    lorafile.write_lora(source, {f"{name}.diff_b": torch.ones(width)}, {})
    merge.bake(tmp_path / "base.safetensors", [WeightedSource(source, 0.5)], target)
    merged = lorafile.read_safetensors(target).tensors
    assert torch.equal(merged[f"{key}.bias"], torch.full((width,), 0.5))
    assert torch.equal(merged[f"{key}.weight"], base[f"{key}.weight"])
    for arguments in (("merge", source, "-o", target), ("resize", source, "-o", target, "--rank", 1)):
        assert run(*arguments) == 2
        assert "diff_b" in capsys.readouterr().err
    del base[f"{key}.bias"]
    save(tmp_path / "base.safetensors", base)
    assert run("merge", source, "--into", tmp_path / "base.safetensors", "-o", target) == 2
    assert f"changes a bias of {width} numbers, which {key}.weight does not have" in capsys.readouterr().err


def test_what_overflows_is_not_written(tmp_path: Path) -> None:
    tensors = {key: value * 1e6 for key, value in lora().items()}
    with pytest.raises(TrainingError, match=r"out.safetensors: not written: .* holds NaN or infinity. Try --precision"):
        cast = lorafile.cast_tensors(tensors, torch.float16)
        lorafile.write_lora(tmp_path / "out.safetensors", cast, {}, validity.check_written)
    assert list(tmp_path.iterdir()) == []


def test_a_quantised_checkpoint_is_neither_merged_into_nor_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = checkpoint("sd1")
    save(tmp_path / "plain.safetensors", base)
    key = "model.diffusion_model.input_blocks.1.1.proj_in"
    lorafile.write_lora(tmp_path / "a.safetensors", lora(), {})
    file, out = tmp_path / "base.safetensors", tmp_path / "out.safetensors"
    for odd, sentence in (
        ({f"{key}.weight": base[f"{key}.weight"].to(torch.int8)}, f"({key}.weight is I8)"),
        ({f"{key}.scale_weight": torch.tensor(2.0)}, f"({key}.scale_weight)"),
    ):
        save(file, base | odd)
        for words in (
            ("merge", tmp_path / "a.safetensors", "--into"),
            ("extract", "--rank", 1, tmp_path / "plain.safetensors"),
        ):
            assert run(*words, file, "-o", out) == 2
            assert f"{file}: its weights are quantised {sentence}, which is not read here" in capsys.readouterr().err
            assert not out.exists()


def test_a_damaged_checkpoint_is_not_merged_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = checkpoint("sd1")
    base["first_stage_model.decoder.conv_in.weight"].fill_(float("nan"))
    save(tmp_path / "base.safetensors", base)
    lorafile.write_lora(tmp_path / "a.safetensors", lora(), {})
    out = tmp_path / "out.safetensors"
    assert run("merge", tmp_path / "a.safetensors", "--into", tmp_path / "base.safetensors", "-o", out) == 2
    assert "first_stage_model.decoder.conv_in.weight holds NaN" in capsys.readouterr().err
