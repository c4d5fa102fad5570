"""Which LoRA files the WebUI ignores, by the names of their tensors alone."""

import json
import os
import struct
import time
from pathlib import Path

import pytest

from roles.onhost import confined, lora_keys
from roles.onhost.lora_keys import judge

UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
DIFFUSERS = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
TREE = Path(__file__).resolve().parents[2]
SILENT = "the WebUI ignores it silently"


def main(folder: str, store: str) -> dict[str, str]:
    return lora_keys.ignored_below(folder, store)


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
    assert lora_keys.ignored(tmp_path / "cut.safetensors") == "", "what is damaged is found by its hash"


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


def headed(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


STRANGE = {
    "nested.safetensors": headed(b'{"a":' * 200_000),
    "claims.safetensors": headed(b"{}", 1 << 62),
    "lists.safetensors": headed(b"[" * 2_000_000),
}


def test_strange_files_stop_nobody_and_are_read_as_nobody(tmp_path: Path) -> None:
    folder, store = tmp_path / "Lora", tmp_path / "store"
    write(store / "sha256/ab/abcd", f"{DIFFUSERS}.lora_A.weight")
    folder.mkdir()
    (folder / "z-ours.safetensors").symlink_to(store / "sha256/ab/abcd")
    for name, content in STRANGE.items():
        (folder / name).write_bytes(content)
    with (folder / "endless.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 1 << 40))
        file.truncate(4 << 40)
    os.mkfifo(folder / "fifo.safetensors")
    write(folder / "other.safetensors", f"{DIFFUSERS}.lora_B.weight")
    began = time.monotonic()
    found = {Path(path).name: why for path, why in main(str(folder), str(store)).items()}
    assert time.monotonic() - began < 20
    assert found.pop("z-ours.safetensors").startswith(SILENT) and found.pop("other.safetensors").startswith(SILENT)
    assert set(found) == {"endless.safetensors", *STRANGE}
    assert all(why.startswith("cannot be read: ") for why in found.values())


def test_what_reads_a_file_has_no_rights_and_no_time_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.safetensors", "x")
    asked = f"import os, sys; sys.path.insert(0, {str(TREE)!r}); from roles.onhost import confined; "
    asked += "confined.answer(lambda _: [str(os.geteuid())])"
    with (tmp_path / "a.safetensors").open("rb") as stream:
        assert confined.ask(["-c", asked], stream) == ["65534" if os.geteuid() == 0 else str(os.geteuid())]
        monkeypatch.setattr(confined, "SECONDS", 0.5)
        with pytest.raises(confined.StrangeFileError, match="longer than"):
            confined.ask(["-c", "import time; time.sleep(60)"], stream)
        with pytest.raises(confined.StrangeFileError, match="ends its reader"):
            confined.ask(["-c", "while True: print('[' * 100000)"], stream)


def test_files_of_ours_are_looked_at_before_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, store = tmp_path / "Lora", tmp_path / "store"
    write(store / "sha256/ab/abcd", f"{DIFFUSERS}.lora_A.weight")
    for number in range(3):
        write(folder / f"a{number}.safetensors", f"{DIFFUSERS}.lora_A.weight")
    (folder / "z.safetensors").symlink_to(store / "sha256/ab/abcd")
    clock = iter([0.0, 0.0, *[1000.0] * 9])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    found = main(str(folder), str(store))
    assert set(found) == {str(folder / "z.safetensors"), f"{folder}/*"}
    assert "not all of its files were looked at" in found[f"{folder}/*"]
