"""Which LoRA files the WebUI ignores, by the names of their tensors alone."""

import json
import os
import struct
from pathlib import Path

import pytest

from roles.onhost.lora_keys import ignored, judge, main

UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
DIFFUSERS = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
SILENT = "the WebUI ignores it silently"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([f"{UNET}.lora_down.weight", f"{UNET}.lora_up.weight", f"{UNET}.alpha"], ""),
        ([f"{UNET}.lora_down.weight", f"{UNET}.lora_up.weight"], ""),
        ([f"lora_te1_text_model_encoder_layers_0_mlp_fc1.{part}.weight" for part in ("lora_down", "lora_up")], ""),
        ([f"{UNET}.lora_A.weight", f"{UNET}.lora_B.weight"], ""),
        ([f"{UNET}.{part}" for part in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "alpha")], ""),
        ([f"{UNET}.{part}" for part in ("lokr_w1", "lokr_w2_a", "lokr_w2_b")], ""),
        ([f"{UNET}.diff", f"{UNET}.diff_b"], ""),
        ([f"{UNET}.lora_A.default.weight", f"{UNET}.lora_B.default.weight"], "the WebUI reads none of it"),
        ([f"{DIFFUSERS}.lora_A.weight", f"{DIFFUSERS}.lora_B.weight"], f"{SILENT}: its keys are named 'unet.down_b"),
        ([f"base_model.model.{DIFFUSERS}.lora_A.weight"], SILENT),
        ([f"{DIFFUSERS}.lora.down.weight", f"{DIFFUSERS}.lora.up.weight"], SILENT),
        ([f"transformer.single_{n}.lora_A.weight" for n in range(2)], SILENT),
        ([], SILENT),
        (
            [f"{UNET}.lora_down.weight", f"{UNET}.lora_up.weight", f"{DIFFUSERS}.lora_A.weight"],
            "the WebUI ignores 1 of its 2 modules, such as 'unet.down_blocks",
        ),
    ],
)
def test_names_decide(keys: list[str], said: str) -> None:
    assert judge(keys).startswith(said) and bool(judge(keys)) == bool(said)


def write(file: Path, *keys: str) -> None:
    entries = {key: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for key in keys}
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(header)) + header)


def test_a_folder_of_files(tmp_path: Path) -> None:
    write(tmp_path / "good.safetensors", f"{UNET}.lora_down.weight", f"{UNET}.lora_up.weight")
    write(tmp_path / "sub/bad.safetensors", f"{DIFFUSERS}.lora_A.weight")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    assert list(main(str(tmp_path), str(tmp_path / "store"))) == [str(tmp_path / "sub/bad.safetensors")]
    assert ignored(tmp_path / "cut.safetensors") == "", "what is damaged is found by its hash"


def test_of_what_the_webui_plants_nothing_is_followed(tmp_path: Path) -> None:
    folder, store = tmp_path / "Lora", tmp_path / "store"
    write(tmp_path / "secret", f"{DIFFUSERS}.lora_A.weight")
    write(store / "sha256/ab/abcd", f"{DIFFUSERS}.lora_A.weight")
    folder.mkdir()
    (folder / "ours.safetensors").symlink_to(store / "sha256/ab/abcd")
    (folder / "secret.safetensors").symlink_to(tmp_path / "secret")
    (folder / "around.safetensors").symlink_to(store / "../secret")
    os.mkfifo(folder / "fifo.safetensors")
    assert list(main(str(folder), str(store))) == [str(folder / "ours.safetensors")]
    (tmp_path / "swapped").symlink_to(tmp_path)
    tmp_path.chmod(0o777)
    assert main(str(tmp_path / "swapped"), str(store)) == {}
