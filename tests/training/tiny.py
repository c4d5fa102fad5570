"""Small random base models in the original checkpoint layout, a small CLIP vocabulary, and small pictures."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

State = dict[str, Tensor]
WIDTH = 32
CROSS = 64

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def sd1(file: Path) -> Path:
    """An SD 1 checkpoint of a few hundred thousand weights."""
    torch.manual_seed(1)
    text = CLIPTextModel(_text(layers=2, act="quick_gelu"))
    state = (
        _unet(_unet_model({}), layers=1) | _vae() | _prefixed(_bare(text), "cond_stage_model.transformer.text_model.")
    )
    return _save(state, file)


def sd2(file: Path) -> Path:
    """An SD 2 checkpoint: OpenCLIP text encoder, linear projections."""
    torch.manual_seed(2)
    text = CLIPTextModel(_text(layers=3, act="gelu"))
    unet = _unet_model({"use_linear_projection": True, "attention_head_dim": [1, 1]})
    state = _unet(unet, layers=1) | _vae() | _open_clip(_bare(text), "cond_stage_model.model.")
    return _save(state, file)


def sdxl(file: Path) -> Path:
    """An SDXL checkpoint: two text encoders, size conditions, several transformer layers a block."""
    torch.manual_seed(3)
    first = CLIPTextModel(_text(layers=2, act="quick_gelu"))
    second = CLIPTextModelWithProjection(_text(layers=2, act="gelu"))
    unet = _unet_model(
        {
            "cross_attention_dim": 2 * CROSS,
            "use_linear_projection": True,
            "attention_head_dim": [1, 1],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            "transformer_layers_per_block": [2, 2],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": CROSS + 6 * 8,
        }
    )
    projection = second.state_dict()["text_projection.weight"].T
    state = (
        _unet(unet, layers=1)
        | _vae()
        | _prefixed(_bare(first), "conditioner.embedders.0.transformer.text_model.")
        | _open_clip(_bare(second), "conditioner.embedders.1.model.")
        | {"conditioner.embedders.1.model.text_projection": projection}
    )
    return _save(state, file)


def tokenizer(folder: Path) -> Path:
    """A CLIP tokenizer that knows single characters only, as vocab.json and merges.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(33, 127)]
    words = ["<pad>", *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings: dict[str, Any] = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    settings |= {"unk_token": "<|endoftext|>", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", **settings}))
    return folder


def tokenizer_json(folder: Path) -> Path:
    """The same tokenizer as one tokenizer.json, in the form that transformers' fast tokenizers write."""
    tokenizer(folder)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    ends = {name: [name, vocabulary[name]] for name in ("<|startoftext|>", "<|endoftext|>")}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": True}
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    blanks = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": name, **flags} for name, number in ends.values()],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, blanks, {"type": "Lowercase"}]},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": words}, "behavior": "Removed", "invert": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        },
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": ends["<|endoftext|>"],
            "cls": ends["<|startoftext|>"],
            "trim_offsets": False,
            "add_prefix_space": False,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<|endoftext|>",
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": [],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    return folder


VOCABULARY = 1 + 2 * 94 + 2


def picture(file: Path, size: tuple[int, int] = (80, 72), seed: int = 0, alpha: bool = False) -> Path:
    """A picture of smooth random colours."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 255, (4, 4, 4 if alpha else 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file)
    return file


def _text(layers: int, act: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=CROSS,
        intermediate_size=2 * CROSS,
        num_hidden_layers=layers,
        num_attention_heads=1,
        bos_token_id=VOCABULARY - 2,
        eos_token_id=VOCABULARY - 1,
        projection_dim=CROSS,
        hidden_act=act,
    )


def _unet_model(more: dict[str, object]) -> UNet2DConditionModel:
    settings: dict[str, Any] = {
        "block_out_channels": [WIDTH, 2 * WIDTH],
        "layers_per_block": 1,
        "cross_attention_dim": CROSS,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": 8,
    }
    settings |= more
    model: UNet2DConditionModel = UNet2DConditionModel(**settings)
    return model


def _bare(model: torch.nn.Module) -> State:
    """A CLIP text model's state without the prefix that some versions of transformers add."""
    found = {name.removeprefix("text_model."): value for name, value in model.state_dict().items()}
    found.pop("text_projection.weight", None)
    # An untrained norm has mean zero, by which emphasis would divide.
    found["final_layer_norm.bias"] = found["final_layer_norm.bias"] + 0.1
    return found


def _prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def _unet(model: UNet2DConditionModel, layers: int) -> State:
    found = {}
    attending = ["CrossAttn" in kind for kind in model.config["up_block_types"]]
    for name, value in model.state_dict().items():
        module, _, kind = name.rpartition(".")
        found[f"model.diffusion_model.{_unet_path(module, layers, attending)}.{kind}"] = value
    return found


def _unet_path(path: str, layers: int, attending: list[bool]) -> str:
    if path in UNET_ENDS:
        return UNET_ENDS[path]
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", path):
        place = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block.{place}.{RESNET.get(match[3], match[3])}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", path)
    assert match, path
    side, block, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    stem, first = (
        ("input_blocks", block * (layers + 1) + 1) if side == "down" else ("output_blocks", block * (layers + 1))
    )
    if kind == "resnets":
        return f"{stem}.{first + layer}.0.{RESNET[rest]}"
    if kind == "attentions":
        return f"{stem}.{first + layer}.1.{rest}"
    if kind == "downsamplers":
        return f"{stem}.{first + layers}.0.op"
    return f"{stem}.{first + layers}.{2 if attending[block] else 1}.conv"


def _vae() -> State:
    model = AutoencoderKL(
        block_out_channels=[WIDTH, WIDTH, WIDTH, WIDTH],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
        layers_per_block=1,
    )
    found = {}
    for name, value in model.state_dict().items():
        new = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
        new = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}", new)
        new = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", new)
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        new = new.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "mid_block.attentions.0" in new:
            new = new.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            for part, short in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
                if f".{part}." in new:
                    new = new.replace(f".{part}.", f".{short}.")
                    value = value[:, :, None, None] if value.dim() == 2 else value
        found[f"first_stage_model.{new}"] = value
    return found


def _open_clip(state: State, prefix: str) -> State:
    found: State = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
    }
    layers = {int(name.split(".")[2]) for name in state if name.startswith("encoder.layers.")}
    for layer in sorted(layers):
        old, new = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            parts = [state[f"{old}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            found[f"{new}.attn.in_proj_{kind}"] = torch.cat(parts)
            for theirs, ours in OPEN_CLIP.items():
                found[f"{new}.{ours}.{kind}"] = state[f"{old}.{theirs}.{kind}"]
    return _prefixed(found, prefix)


def _save(state: State, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    return file
