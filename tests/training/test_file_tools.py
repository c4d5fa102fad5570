"""inspect, merge, resize and extract on tiny LoRA files and checkpoints."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.checkpoints import CHANNELS, checkpoint, save
from training.base import keys
from training.base.header import read_header
from training.base.keys import family_of_keys
from training.errors import InputError
from training.lora import lorafile, validity
from training.lora.checkpoint_keys import lora_targets
from training.lora.deltas import apply_module, delta
from training.lora.extract import extract, extract_file
from training.lora.inspection import inspect_lora, inspection_report
from training.lora.lorafile import LoraFile
from training.lora.merge import WeightedSource, bake, merge, merge_files
from training.lora.resize import resize, resize_file
from training.lora.svd import Truncation

pytestmark = pytest.mark.slow

FAMILIES = ("sd1", "sd2", "sdxl")


def lora(kind: str = "sd1", rank: int = 3, alpha: float = 1.5, seed: int = 1, conv: bool = True) -> LoraFile:
    """A LoRA on every layer of a tiny checkpoint."""
    generator = torch.Generator().manual_seed(seed)
    base = checkpoint(kind)
    tensors: dict[str, Tensor] = {}
    for place in lora_targets(
        {key: tuple(tensor.shape) for key, tensor in base.items()}, family_of_keys(base) or "sd1"
    ):
        if place.layer == "convolution" and not conv:
            continue
        out, *inner = base[place.key].shape
        out = out // 3 if place.third is not None else out
        tail = [1] * (len(inner) - 1)
        tensors[f"{place.module}.lora_down.weight"] = torch.randn(rank, *inner, generator=generator)
        tensors[f"{place.module}.lora_up.weight"] = torch.randn(out, rank, *tail, generator=generator)
        tensors[f"{place.module}.alpha"] = torch.tensor(alpha)
    return LoraFile(tensors, {"ss_network_dim": str(rank), "ss_base_model_version": "sd_v1", "ss_v2": "False"})


def changes(file: LoraFile) -> dict[str, Tensor]:
    return {name: delta(parts) for name, parts in file.modules().items()}


def assert_same_changes(found: LoraFile, expected: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    actual = changes(found)
    assert actual.keys() == expected.keys()
    for name, change in actual.items():
        error = (change - expected[name]).norm() / expected[name].norm()
        assert error < tolerance, (name, float(error))


# merge


def test_merging_one_file_changes_no_weight() -> None:
    source = lora()
    found = merge([(source, 1.0)])
    assert found.tensors.keys() == source.tensors.keys()
    assert all(torch.equal(found.tensors[key], source.tensors[key]) for key in source.tensors)


def test_a_sum_adds_what_its_parts_add() -> None:
    first, second = lora(rank=3, alpha=1.5), lora(rank=2, alpha=4.0, seed=2)
    expected = {name: 0.5 * change - 2.0 * changes(second)[name] for name, change in changes(first).items()}
    found = merge([(first, 0.5), (second, -2.0)])
    assert_same_changes(found, expected)
    assert found.metadata["ss_network_dim"] == "5"
    assert found.metadata["ss_base_model_version"] == "sd_v1"


def test_merged_files_keep_their_format_and_name_their_sources(tmp_path: Path) -> None:
    half = lorafile.cast_tensors(lora().tensors, torch.float16)
    lorafile.write_lora(tmp_path / "a.safetensors", half, {})
    lorafile.write_lora(tmp_path / "b.safetensors", half, {})
    sources = [WeightedSource(tmp_path / "a.safetensors"), WeightedSource(tmp_path / "b.safetensors", 0.25)]
    merge_files(sources, tmp_path / "c.safetensors", rank=3)
    found = lorafile.read_safetensors(tmp_path / "c.safetensors")
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float16}
    assert found.metadata["modelspec.merged_from"] == "a.safetensors x 1, b.safetensors x 0.25"
    expected = {name: 1.25 * change for name, change in changes(LoraFile(half, {})).items()}
    assert_same_changes(found, expected, tolerance=3e-3)


def test_networks_that_do_not_add_up_are_refused() -> None:
    module = "lora_unet_mid_block_attentions_0_proj_in"
    loha = LoraFile({f"{module}.hada_w{n}_{side}": torch.ones(2, 2) for n in (1, 2) for side in "ab"}, {})
    with pytest.raises(InputError, match="loha modules cannot be summed into a LoRA; merge them into a checkpoint"):
        merge([(loha, 1.0)])
    with pytest.raises(InputError, match="trained for different models"):
        merge([(lora("sd1"), 1.0), (lora("sd2"), 1.0)])


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_checkpoint_takes_a_lora(kind: str, tmp_path: Path) -> None:
    base, file = checkpoint(kind), lora(kind)
    lorafile.write_lora(tmp_path / "lora.safetensors", file.tensors, {})
    baked = bake(
        save(tmp_path / "base.safetensors", base),
        [WeightedSource(tmp_path / "lora.safetensors", 0.5)],
        tmp_path / "new.safetensors",
    )
    found = lorafile.read_safetensors(tmp_path / "new.safetensors").tensors
    assert (baked.layers, baked.unused) == (len(file.modules()), ())
    assert torch.equal(
        found["first_stage_model.decoder.conv_in.weight"], base["first_stage_model.decoder.conv_in.weight"]
    )
    changed = {key for key in base if not torch.equal(found[key], base[key])}
    expected = {
        place.key
        for place in lora_targets({key: tuple(t.shape) for key, t in base.items()}, family_of_keys(base) or "sd1")
    }
    assert changed == expected
    key, name = {
        "sd1": ("input_blocks.1.1.transformer_blocks.0.attn2.to_k", "down_blocks_0_attentions_0"),
        "sd2": ("input_blocks.1.1.transformer_blocks.0.attn2.to_k", "down_blocks_0_attentions_0"),
        "sdxl": ("input_blocks.4.1.transformer_blocks.0.attn2.to_k", "input_blocks_4_1"),
    }[kind]
    key = f"model.diffusion_model.{key}.weight"
    up, down = (
        file.tensors[f"lora_unet_{name}_transformer_blocks_0_attn2_to_k.lora_{end}.weight"] for end in ("up", "down")
    )
    assert torch.allclose(found[key], base[key] + 0.5 * (1.5 / 3) * up @ down, atol=1e-6)


def test_a_lora_of_another_family_is_refused(tmp_path: Path) -> None:
    lorafile.write_lora(tmp_path / "lora.safetensors", lora("sdxl").tensors, {})
    base = save(tmp_path / "base.safetensors", checkpoint("sd1"))
    with pytest.raises(InputError, match="belongs to another family of models"):
        bake(base, [WeightedSource(tmp_path / "lora.safetensors")], tmp_path / "new.safetensors")
    lorafile.write_lora(
        tmp_path / "wide.safetensors",
        {k: t.repeat(2, *[1] * (t.dim() - 1)) if "lora_up" in k else t for k, t in lora().tensors.items()},
        {},
    )
    with pytest.raises(InputError, match="was trained for a layer of another size"):
        bake(base, [WeightedSource(tmp_path / "wide.safetensors")], tmp_path / "new.safetensors")
    assert not (tmp_path / "new.safetensors").exists()


def test_dora_gives_each_row_its_magnitude() -> None:
    weight, magnitude = torch.randn(6, 4), torch.rand(6, 1) + 1
    parts = {"lora_up.weight": torch.randn(6, 2), "lora_down.weight": torch.randn(2, 4), "dora_scale": magnitude}
    assert torch.allclose(apply_module(weight, parts).norm(dim=1, keepdim=True), magnitude)
    columns = parts | {"dora_scale": torch.rand(1, 4) + 1}
    assert torch.allclose(apply_module(weight, columns).norm(dim=0, keepdim=True), columns["dora_scale"])


# resize


def test_full_rank_keeps_everything() -> None:
    source = lora(rank=4)
    found = resize(source, Truncation(rank=4))
    assert_same_changes(found.file, changes(source))
    assert found.kept == pytest.approx(1.0)
    assert {key: tuple(t.shape) for key, t in found.file.tensors.items()} == {
        key: tuple(t.shape) for key, t in source.tensors.items()
    }


def test_a_lower_rank_is_the_best_approximation() -> None:
    source = lora(rank=4, alpha=2.0)
    found = resize(source, Truncation(rank=2))
    for name, change in changes(source).items():
        values = torch.linalg.svdvals(change)
        error = (delta(found.file.modules()[name]) - change).norm()
        assert float(error) == pytest.approx(float(values[2:].square().sum().sqrt()), rel=1e-4)
    assert (found.ranks, found.file.metadata["ss_network_dim"], found.file.metadata["ss_network_alpha"]) == (
        (2, 2),
        "2",
        "1.0",
    )
    assert found.file.metadata["ss_training_comment"] == "resized from dimension 4 to rank 2"


def test_energy_keeps_at_least_its_share_and_no_rank_more() -> None:
    source = lora(rank=6)
    found = resize(source, Truncation(energy=0.9))
    for name, cutting in found.cuttings.items():
        squares = torch.linalg.svdvals(delta(source.modules()[name])).double().square()
        assert cutting.kept >= 0.9
        assert float(squares[: cutting.rank - 1].sum() / squares.sum()) < 0.9
    assert len({cutting.rank for cutting in found.cuttings.values()}) > 1
    assert found.file.metadata["ss_network_dim"] == "Dynamic"


def test_convolutions_have_a_rank_of_their_own() -> None:
    found = resize(lora(rank=4), Truncation(rank=3), Truncation(rank=1))
    ranks = {name: cutting.rank for name, cutting in found.cuttings.items()}
    assert ranks["lora_unet_mid_block_resnets_0_conv1"] == 1
    assert ranks["lora_unet_mid_block_attentions_0_proj_in"] == 3


def test_a_module_that_changes_nothing_stays_small() -> None:
    source = lora()
    silent = LoraFile({key: torch.zeros_like(t) if "lora_up" in key else t for key, t in source.tensors.items()}, {})
    found = resize(silent, Truncation(energy=0.99))
    assert found.ranks == (1, 1)
    assert all(tensor.isfinite().all() for tensor in found.file.tensors.values())


def test_loha_becomes_lora() -> None:
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for module, width in (("lora_unet_mid_block_attentions_0_proj_in", 8), ("lora_unet_mid_block_resnets_0_conv1", 72)):
        for number in (1, 2):
            tensors[f"{module}.hada_w{number}_a"] = torch.randn(8, 2, generator=generator)
            tensors[f"{module}.hada_w{number}_b"] = torch.randn(2, width, generator=generator)
        tensors[f"{module}.alpha"] = torch.tensor(1.0)
    source = LoraFile(tensors, {})
    found = resize(source, Truncation(rank=8))
    assert_same_changes(found.file, changes(source))
    down = found.file.tensors["lora_unet_mid_block_resnets_0_conv1.lora_down.weight"]
    assert down.shape == (8, 8, 3, 3)


def test_a_resized_file_loads(tmp_path: Path) -> None:
    lorafile.write_lora(tmp_path / "a.safetensors", lorafile.cast_tensors(lora().tensors, torch.bfloat16), {})
    resize_file(tmp_path / "a.safetensors", tmp_path / "b.safetensors", Truncation(rank=1))
    found = lorafile.read_safetensors(tmp_path / "b.safetensors")
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.bfloat16}
    assert found.metadata["sshs_model_hash"] == lorafile.sshs_hashes(found.tensors, found.metadata)[0]


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_names_of_other_trainers_are_the_same_layers(kind: str, tmp_path: Path) -> None:
    """OneTrainer and ai-toolkit name SDXL's layers by diffusers' paths; some number SD 1's only text encoder."""
    usual = lora(kind)
    shapes = {key: tuple(tensor.shape) for key, tensor in checkpoint(kind).items()}
    others = {
        ours.module: theirs.module if kind == "sdxl" else ours.module.replace("lora_te_", "lora_te1_")
        for ours, theirs in zip(lora_targets(shapes, kind), lora_targets(shapes, "sd1"), strict=True)  # type: ignore[arg-type]
    }
    renamed = {
        ".".join([others[name], part]): tensor
        for key, tensor in usual.tensors.items()
        for name, _, part in [key.partition(".")]
    }
    assert renamed.keys() != usual.tensors.keys()
    for name, tensors in (("usual", usual.tensors), ("other", renamed)):
        lorafile.write_lora(tmp_path / f"{name}.safetensors", tensors, {})
    base = save(tmp_path / "base.safetensors", {k: t.double() for k, t in checkpoint(kind).items()})
    sources = [WeightedSource(tmp_path / f"{name}.safetensors") for name in ("usual", "other")]
    once, twice = (bake(base, found, tmp_path / "out.safetensors") for found in ([sources[1]], sources))
    assert (once.unused, twice.unused) == ((), ()) and once.layers == twice.layers == len(usual.modules())
    found = merge_files(sources, tmp_path / "sum.safetensors", precision=torch.float32)
    assert_same_changes(found, {name: 2 * change for name, change in changes(usual).items()})


def test_a_folder_and_an_unreadable_file_are_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    for read in (inspect_lora, validity.read_valid, read_header):
        with pytest.raises(InputError, match=r"folder\.safetensors: is a folder; expected a safetensors file$"):
            read(tmp_path / "folder.safetensors")
        with pytest.raises(InputError, match=r"loop\.safetensors: cannot be read \(Too many levels of symbolic links"):
            read(tmp_path / "loop.safetensors")


TE, XL = "text_model_encoder_layers_0_mlp_fc1", "lora_unet_output_blocks_2_2_conv"


def small(*names: str) -> LoraFile:
    """A file of modules for layers of 8 numbers."""
    parts = {"lora_down.weight": torch.ones(1, 8), "lora_up.weight": torch.ones(8, 1), "alpha": torch.tensor(1.0)}
    return LoraFile({f"{name}.{part}": tensor.clone() for name in names for part, tensor in parts.items()}, {})


@pytest.mark.parametrize(
    "odd",
    [
        "up_blocks_3_upsamplers_0_conv",
        "up_blocks_12_upsamplers_0_conv",
        "up_blocks_2_upsamplers_0_conv",
        "down_blocks_3_resnets_0_conv1",
        "down_blocks_0_resnets_7_conv1",
        "mid_block_attentions_4_proj_in",
    ],
)
def test_layers_that_sdxl_does_not_have_keep_their_names_in_a_merge(odd: str, tmp_path: Path) -> None:
    names = (f"lora_te2_{TE}", f"lora_unet_{odd}", "lora_unet_up_blocks_0_upsamplers_0_conv")
    lorafile.write_lora(tmp_path / "a.safetensors", small(*names).tensors, {})
    found = merge_files([WeightedSource(tmp_path / "a.safetensors")], tmp_path / "b.safetensors")
    assert found.modules().keys() == {f"lora_te2_{TE}", f"lora_unet_{odd}", XL}


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        ("sd1", f"lora_te1_{TE}", f"lora_te_{TE}"),
        ("sdxl", "lora_unet_output_blocks_2_2_conv", "lora_unet_up_blocks_0_upsamplers_0_conv"),
    ],
)
def test_a_file_with_two_names_of_a_layer_is_refused(kind: str, one: str, two: str, tmp_path: Path) -> None:
    lorafile.write_lora(tmp_path / "a.safetensors", small(one, two).tensors, {})
    base = save(tmp_path / "base.safetensors", checkpoint(kind))
    sources = [WeightedSource(tmp_path / "a.safetensors")]
    for make in (lambda: merge_files(sources, tmp_path / "b.safetensors"), lambda: bake(base, sources, tmp_path / "c")):
        with pytest.raises(InputError) as raised:
            make()
        said = str(raised.value)
        assert said.startswith(f"{tmp_path / 'a.safetensors'}: {one} and {two} are two names of one layer; remove")
    assert not (tmp_path / "b.safetensors").exists() and not (tmp_path / "c").exists()


def test_what_is_no_lora_is_named_as_what_it_is(tmp_path: Path) -> None:
    contents = {
        b"<!DOCTYPE html><html></html>": "is a web page, not a model; the download needs a login",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n": "is a pointer of Git LFS, not the model itself",
        b"PK\x03\x04 and more, as a zip": "is a zip archive or a .ckpt, whatever its name says",
        b"\x80\x02}q\x00X and more": "is a pickle of PyTorch (.ckpt, .pt)",
        b'{"peft_type": "LORA"}': "is JSON, not a model",
        b"\x00" * 4: "is no readable safetensors file",
    }
    file = tmp_path / "a.safetensors"
    for content, sentence in contents.items():
        file.write_bytes(content)
        for read in (inspect_lora, validity.read_valid, read_header):
            with pytest.raises(InputError) as raised:
                read(file)
            assert str(raised.value).startswith(f"{file}: {sentence}")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "clip_l",
            "is an embedding (textual inversion), not a LoRA; it belongs in the WebUI's embeddings folder",
        ),
        ("unet.down_blocks.0.attn1.to_q.lora_A.weight", "is named as by diffusers or PEFT"),
        ("unet.down_blocks.0.attn1.processor.to_q_lora.down.weight", "is named as by diffusers or PEFT"),
    ],
)
def test_a_lora_of_another_naming_is_refused_in_one_sentence(name: str, sentence: str, tmp_path: Path) -> None:
    file = save(tmp_path / "a.safetensors", {name: torch.ones(2, 2)})
    with pytest.raises(InputError) as raised:
        validity.read_valid(file)
    assert sentence in str(raised.value) and "known network" not in str(raised.value)
    assert sentence in inspection_report(inspect_lora(file))


# extract


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_was_merged_can_be_extracted(kind: str, tmp_path: Path) -> None:
    file = lora(kind, rank=2, alpha=2.0)
    lorafile.write_lora(tmp_path / "lora.safetensors", file.tensors, {})
    base = save(tmp_path / "base.safetensors", {k: t.double() for k, t in checkpoint(kind).items()})
    bake(base, [WeightedSource(tmp_path / "lora.safetensors")], tmp_path / "tuned.safetensors")
    found = extract_file(
        base, tmp_path / "tuned.safetensors", tmp_path / "out.safetensors", Truncation(2), Truncation(2), torch.float32
    )
    assert_same_changes(lorafile.read_safetensors(tmp_path / "out.safetensors"), changes(file))
    assert found.kept == pytest.approx(1.0)
    assert found.file.metadata["ss_network_dim"] == "2"
    assert found.file.metadata["modelspec.architecture"].endswith("/lora")


def test_convolutions_are_left_out_unless_asked_for() -> None:
    base = LoraFile(checkpoint("sd1"), {})
    tuned = LoraFile({key: tensor + 0.1 for key, tensor in base.tensors.items()}, {})
    residual = ("_time_emb_proj", "_conv_shortcut")
    expected = {name for name in lora(conv=False).modules() if not name.endswith(residual)}
    assert set(extract(base, tuned, Truncation(1)).file.modules()) == expected
    assert set(extract(base, tuned, Truncation(1), Truncation(1)).file.modules()) == set(lora().modules())


def test_layers_that_do_not_differ_have_no_module() -> None:
    base = LoraFile(checkpoint("sd1"), {})
    key = "model.diffusion_model.middle_block.1.proj_in.weight"
    tuned = LoraFile(base.tensors | {key: base.tensors[key] + torch.eye(CHANNELS)[..., None, None]}, {})
    found = extract(base, tuned, Truncation(rank=CHANNELS))
    assert set(found.file.modules()) == {"lora_unet_mid_block_attentions_0_proj_in"}
    assert found.same > 10


@pytest.mark.parametrize("old", ["base", "tuned", "both"])
def test_text_encoders_of_old_and_new_names_are_compared(old: str) -> None:
    base = LoraFile(checkpoint("sd1"), {})
    tuned = LoraFile({key: tensor + 0.1 for key, tensor in base.tensors.items()}, {})
    wanted = extract(base, tuned, Truncation(1))
    assert any(name.startswith("lora_te_text_model_encoder_layers_0") for name in wanted.file.modules())
    found = extract(
        with_old_names(base) if old != "tuned" else base,
        with_old_names(tuned) if old != "base" else tuned,
        Truncation(1),
    )
    assert found.file.tensors.keys() == wanted.file.tensors.keys()
    assert all(torch.equal(found.file.tensors[key], tensor) for key, tensor in wanted.file.tensors.items())
    assert (found.kept, found.same) == (wanted.kept, wanted.same)


def with_old_names(file: LoraFile) -> LoraFile:
    """A checkpoint of SD 1 with the text encoder's names before transformers added text_model."""
    return LoraFile({key.replace(keys.CLIP, keys.OLD_CLIP): tensor for key, tensor in file.tensors.items()}, {})


def test_what_two_checkpoints_do_not_share_is_named() -> None:
    base = LoraFile(checkpoint("sd1"), {})
    key = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight"
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    less = LoraFile({other: tensor for other, tensor in base.tensors.items() if other != key}, {})
    larger = LoraFile(base.tensors | {key: torch.ones(3, 5)}, {})
    broken = LoraFile(base.tensors | {key: base.tensors[key] * float("nan")}, {})
    for one, other, sentence in (
        (base, less, f"only one of the two has the layer {name}; the other is incomplete or another model"),
        (less, base, f"only one of the two has the layer {name}; the other is incomplete or another model"),
        (base, larger, f"the layer {name} is 8x8 in the first and 3x5 in the second; they are different models"),
        (broken, base, f"the layer {name} holds NaN or infinity in one of the two"),
    ):
        with pytest.raises(InputError, match=sentence):
            extract(one, other, Truncation(1))


def test_checkpoints_that_do_not_match_are_refused() -> None:
    base, other = LoraFile(checkpoint("sd1"), {}), LoraFile(checkpoint("sdxl"), {})
    with pytest.raises(InputError, match="must be single-file checkpoints of the same family"):
        extract(base, other, Truncation(1))
    with pytest.raises(InputError, match="do not differ in any layer"):
        extract(base, base, Truncation(1))


# inspect


def test_a_report_says_what_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "cat.safetensors"
    metadata = {
        "ss_steps": "120",
        "ss_optimizer": "torch.optim.AdamW",
        "ss_min_snr_gamma": "None",
        "ss_tag_frequency": json.dumps({"10_cat": {"cat": 12, "sofa": 3}}),
    }
    lorafile.write_lora(path, lorafile.cast_tensors(lora(conv=False).tensors, torch.float16), metadata)
    text = inspection_report(inspect_lora(path))
    assert "cat.safetensors" in text
    assert "LoRA" in text
    assert "rank       3, alpha 1.5" in text
    assert "float16" in text
    assert "120" in text
    assert "min-SNR" not in text
    assert "Most frequent tags: cat (12), sofa (3)" in text
    assert "Warning" not in text
    table = text.split("Strength by block")[1].splitlines()[1:]
    stages = [*(f"down_blocks.{i}" for i in range(4)), "mid_block", *(f"up_blocks.{i}" for i in range(4))]
    assert [line.split()[0] for line in table] == ["text", *stages]


def test_norms_are_those_of_what_is_added(tmp_path: Path) -> None:
    source = lora()
    lorafile.write_lora(tmp_path / "a.safetensors", source.tensors, {})
    block = inspect_lora(tmp_path / "a.safetensors").blocks["mid_block"]
    inside = [change for name, change in changes(source).items() if "mid_block" in name]
    assert block.modules == len(inside)
    assert block.norm == pytest.approx(float(sum(change.square().sum() for change in inside)) ** 0.5, rel=1e-5)


def test_families_are_told_from_names_and_shapes(tmp_path: Path) -> None:
    lorafile.write_lora(tmp_path / "xl.safetensors", lora("sdxl").tensors, {})
    assert inspect_lora(tmp_path / "xl.safetensors").family == "sdxl"
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{key}.lora_down.weight": torch.ones(1, 768), f"{key}.lora_up.weight": torch.ones(2, 1)}
    lorafile.write_lora(tmp_path / "sd1.safetensors", tensors, {})
    assert inspect_lora(tmp_path / "sd1.safetensors").family == "sd1"


def test_trouble_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    lorafile.write_lora(path, {"unet.mid_block.attentions.0.proj_in.lora_A.weight": torch.ones(2, 2)}, {})
    assert "which the WebUI ignores silently" in inspection_report(inspect_lora(path))
    source = lora()
    broken = dict(source.tensors)
    broken[next(iter(broken))] = torch.full_like(next(iter(broken.values())), float("nan"))
    lorafile.write_lora(path, broken, {})
    assert "holds NaN or infinity" in inspection_report(inspect_lora(path))
    data = lorafile.serialise(lora(seed=9).tensors, {"sshs_model_hash": "0" * 64})
    path.write_bytes(data)
    assert "the file was changed after it was made" in inspection_report(inspect_lora(path))


def test_a_checkpoint_is_no_lora(tmp_path: Path) -> None:
    path = save(tmp_path / "base.safetensors", checkpoint("sd1"))
    with pytest.raises(InputError, match=r"holds no LoRA module .* is it a checkpoint\?"):
        inspect_lora(path)
