"""Every kind of network: kohya's keys on file, an effect on the UNet, and loadable by diffusers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.training.workbench import Workbench
from training.base.loading import BaseModel
from training.config import Network
from training.lora import deltas, lorafile, network
from training.sections.model import Model

pytestmark = pytest.mark.slow

ATTENTION = {
    "proj_in",
    "proj_out",
    *(f"transformer_blocks_0_attn{n}_{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out_0")),
    "transformer_blocks_0_ff_net_0_proj",
    "transformer_blocks_0_ff_net_2",
}
SD1_PLACES = [
    "lora_unet_down_blocks_0_attentions_0",
    "lora_unet_mid_block_attentions_0",
    *(f"lora_unet_up_blocks_1_attentions_{n}" for n in (0, 1)),
]
LORA = {"lora_down.weight", "lora_up.weight", "alpha"}


def modules(bench: Workbench, run: str) -> dict[str, set[str]]:
    """Parts by module of a run's file."""
    found: dict[str, set[str]] = {}
    for key in bench.tensors(run):
        name, _, part = key.partition(".")
        found.setdefault(name, set()).add(part)
    return found


def test_lora_trains_kohyas_default_targets(bench: Workbench) -> None:
    bench.train("run")
    found = modules(bench, "run")
    assert found.keys() == {f"{place}_{part}" for place in SD1_PLACES for part in ATTENTION}
    assert all(parts == LORA for parts in found.values())
    tensors = bench.tensors("run")
    assert tensors[f"{SD1_PLACES[0]}_proj_in.alpha"].shape == ()
    assert tensors[f"{SD1_PLACES[0]}_proj_in.lora_down.weight"].shape == (2, 32, 1, 1)
    assert all(tensor.abs().sum() > 0 for tensor in tensors.values())


def test_locon_adds_the_resnets_and_samplers(bench: Workbench) -> None:
    bench.train("run", tables={"network": {"kind": "locon", "conv_rank": 3}})
    found = modules(bench, "run")
    extra = {name for name in found if "attentions" not in name}
    assert "lora_unet_down_blocks_0_downsamplers_0_conv" in extra
    assert "lora_unet_up_blocks_0_upsamplers_0_conv" in extra
    parts = {name.removeprefix("lora_unet_mid_block_resnets_0_") for name in extra if "mid_block_resnets_0" in name}
    assert parts == {"conv1", "conv2", "time_emb_proj"}
    tensors = bench.tensors("run")
    assert tensors["lora_unet_mid_block_resnets_0_conv1.lora_down.weight"].shape == (3, 64, 3, 3)
    assert tensors["lora_unet_mid_block_resnets_0_conv1.lora_up.weight"].shape == (64, 3, 1, 1)
    assert tensors["lora_unet_mid_block_resnets_0_time_emb_proj.lora_down.weight"].shape[0] == 2


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("dora", {*LORA, "dora_scale"}),
        ("loha", {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "alpha"}),
        ("lokr", {"lokr_w1", "lokr_w2_a", "lokr_w2_b", "alpha"}),
    ],
)
def test_other_kinds_have_lycoris_names(bench: Workbench, kind: str, parts: set[str]) -> None:
    bench.train("run", tables={"network": {"kind": kind}})
    found = modules(bench, "run")
    assert len(found) == 48
    assert found["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"] == parts
    with safe_open(bench.file("run"), "pt") as file:
        assert file.metadata()["ss_network_module"] == ("networks.lora" if kind == "dora" else "lycoris.kohya")


def test_text_encoders_are_trained_and_named(bench: Workbench) -> None:
    bench.train("one", tables={"network": {"text_encoder": True}})
    text = {name for name in modules(bench, "one") if name.startswith("lora_te_")}
    parts = ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "self_attn_out_proj", "mlp_fc1", "mlp_fc2")
    assert text == {f"lora_te_text_model_encoder_layers_{n}_{part}" for n in (0, 1) for part in parts}
    moved = bench.tensors("one")["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"]
    assert moved.abs().sum() > 0
    bench.train("xl", "sdxl", {"network": {"text_encoder": True, "unet": False}})
    prefixes = {name.split("_text_model")[0] for name in modules(bench, "xl")}
    assert prefixes == {"lora_te1", "lora_te2"}


def test_text_encoder_until_freezes_it(bench: Workbench) -> None:
    tables = {"network": {"text_encoder": True}, "schedule": {"kind": "constant"}}
    bench.train("short", tables={**tables, "train": {"steps": 2}})
    bench.train("frozen", tables={**tables, "network": {"text_encoder": True, "text_encoder_until": 0.5}})
    short, frozen = bench.tensors("short"), bench.tensors("frozen")
    assert all(torch.equal(frozen[key], value) for key, value in short.items() if key.startswith("lora_te"))
    assert any(not torch.equal(frozen[key], value) for key, value in short.items() if key.startswith("lora_unet"))


def test_ranks_and_alphas_by_block(bench: Workbench) -> None:
    ranks = {"ranks": {"down_blocks.0": 1, ".*attn2": 5}, "alphas": {"mid_block": 7.0}}
    bench.train("run", tables={"network": ranks})
    tensors = bench.tensors("run")
    assert tensors[f"{SD1_PLACES[0]}_transformer_blocks_0_attn2_to_k.lora_down.weight"].shape[0] == 1
    assert tensors[f"{SD1_PLACES[2]}_transformer_blocks_0_attn2_to_k.lora_down.weight"].shape[0] == 5
    assert tensors[f"{SD1_PLACES[2]}_transformer_blocks_0_attn1_to_k.lora_down.weight"].shape[0] == 2
    assert tensors[f"{SD1_PLACES[1]}_proj_in.alpha"].item() == 7.0


def test_start_from_goes_on_from_a_file(bench: Workbench) -> None:
    bench.train("first")
    start = {"network": {"start_from": str(bench.file("first"))}, "optimizer": {"learning_rate": 1e-12}}
    bench.train("second", tables=start)
    first, second = bench.tensors("first"), bench.tensors("second")
    assert all(torch.allclose(first[key], second[key], atol=1e-6) for key in first)


def test_max_norm_limits_every_layer(bench: Workbench) -> None:
    bench.train("run", tables={"network": {"max_norm": 0.001}, "optimizer": {"learning_rate": 0.1}})
    tensors = bench.tensors("run")
    for key in tensors:
        if key.endswith("lora_up.weight"):
            down = tensors[key.replace("lora_up", "lora_down")]
            assert (tensors[key].flatten(1) @ down.flatten(1)).norm() * 0.5 < 0.001 * 1.01


@pytest.mark.parametrize(
    ("family", "kind"), [("sd1", "lora"), ("sd2", "lora"), ("sdxl", "lora"), ("sd1", "locon"), ("sd1", "dora")]
)
def test_diffusers_loads_the_file_and_it_changes_the_unet_as_trained(bench: Workbench, family: str, kind: str) -> None:
    from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers

    base = trained(bench, family, kind)
    unet: Any = base.unet(torch.float32)
    plain = speak(unet, family)
    tensors = bench.tensors("run")
    if family == "sdxl":
        from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers

        tensors = _maybe_map_sgm_blocks_to_diffusers(tensors, unet.config)
    # diffusers reads DoRA's magnitudes in PEFT's shapes only, LyCORIS and ComfyUI only as the file has them.
    for key, value in tensors.items():
        if key.endswith(".dora_scale"):
            tensors[key] = value.view(1, -1, 1, 1) if value.dim() == 4 else value.flatten()
    state, alphas = _convert_non_diffusers_lora_to_diffusers(tensors)
    unet.load_lora_adapter(state, network_alphas=alphas, prefix="unet")
    loaded = speak(unet, family)
    assert (loaded - plain).abs().max() > 1e-3
    assert torch.allclose(loaded, speak(ours(bench.file("run"), base, kind), family), atol=1e-5)


@pytest.mark.parametrize("kind", ["locon", "dora", "loha", "lokr"])
def test_weights_changed_by_the_files_own_formula_speak_as_trained(bench: Workbench, kind: str) -> None:
    """Programs without our layers change the base model's weights by LyCORIS' formulas."""
    base = trained(bench, "sd1", kind)
    unet: Any = base.unet(torch.float32)
    plain = speak(unet, "sd1")
    by_name = {"lora_unet_" + path.replace(".", "_"): module for path, module in unet.named_modules()}
    for name, parts in lorafile.read_safetensors(bench.file("run")).modules().items():
        weight = by_name[name].weight
        weight.data = deltas.apply_module(weight.data, parts)
    changed = speak(unet, "sd1")
    assert (changed - plain).abs().max() > 1e-3
    assert torch.allclose(changed, speak(ours(bench.file("run"), base, kind), "sd1"), atol=1e-5)


def trained(bench: Workbench, family: str, kind: str) -> BaseModel:
    """The base model of a run that moved far."""
    bench.train("run", family, {"optimizer": {"learning_rate": 0.05}, "network": {"kind": kind}})
    return BaseModel(Model(checkpoint=bench.materials / f"{family}.safetensors"))


def ours(file: Path, base: BaseModel, kind: str) -> Any:
    """The UNet with our network loaded from a file."""
    from training.lora import ema

    unet = base.unet(torch.float32)
    settings = Network.model_validate({"kind": kind, "rank": 2, "alpha": 1.0})
    ema.start_from(network.attach(settings, 0, base.family, unet, []), file)
    return unet.eval()


@torch.no_grad()
def speak(unet: Any, family: str) -> torch.Tensor:
    """What a UNet says of a fixed input."""
    draw = torch.Generator().manual_seed(5)
    latents = torch.randn(1, 4, 8, 8, generator=draw)
    text = torch.randn(1, 77, unet.config.cross_attention_dim, generator=draw)
    added = {"text_embeds": torch.randn(1, 64, generator=draw), "time_ids": torch.full((1, 6), 64.0)}
    more = {"added_cond_kwargs": added} if family == "sdxl" else {}
    found: torch.Tensor = unet(latents, torch.tensor([500]), text, return_dict=False, **more)[0]
    return found
