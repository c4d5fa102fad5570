"""LoRA files: the same bytes every time, and hashes as other programs compute them."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from training.errors import InputError, TrainingError
from training.lora import lorafile

pytestmark = pytest.mark.slow

TREE = Path(__file__).resolve().parents[2]


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    return {
        f"{name}.lora_down.weight": torch.randn(4, 100_000, generator=generator),
        f"{name}.lora_up.weight": torch.randn(32, 4, generator=generator).half(),
        f"{name}.alpha": torch.tensor(2.0),
    }


METADATA = {f"ss_key_{i}": f"value {i} ü \n" for i in range(30)} | {"modelspec.title": "ink"}


def test_a_file_is_the_same_in_every_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from training.lora import lorafile\n"
        "from tests.training.test_lorafile import METADATA, tensors\n"
        "print(lorafile.write_lora(Path(sys.argv[1]), tensors(), METADATA))"
    )
    digests = set()
    for run in range(3):
        path = tmp_path / f"{run}.safetensors"
        printed = subprocess.run(
            [sys.executable, "-c", program, str(path)], cwd=TREE, check=True, capture_output=True, text=True
        ).stdout.strip()
        assert printed == hashlib.sha256(path.read_bytes()).hexdigest()
        digests.add(printed)
    assert len(digests) == 1


def test_others_read_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ink.safetensors"
    lorafile.write_lora(path, tensors(), METADATA)
    for key, tensor in load_file(path).items():
        assert torch.equal(tensor, tensors()[key])
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert METADATA.items() <= metadata.items()
    assert list(tmp_path.iterdir()) == [path]


def test_hashes_equal_an_independent_computation(tmp_path: Path) -> None:
    path = tmp_path / "ink.safetensors"
    lorafile.write_lora(path, tensors(), METADATA)
    metadata = lorafile.read_safetensors(path).metadata

    stored = save(tensors(), {key: value for key, value in METADATA.items() if key.startswith("ss_")})
    header = int.from_bytes(stored[:8], "little")
    assert metadata["sshs_model_hash"] == hashlib.sha256(stored[8 + header :]).hexdigest()
    assert metadata["sshs_legacy_hash"] == hashlib.sha256(stored[0x100000:0x110000]).hexdigest()[:8]
    assert len(stored) > 0x110000


def test_later_notes_do_not_change_the_hashes() -> None:
    assert lorafile.sshs_hashes(tensors(), METADATA) == lorafile.sshs_hashes(
        tensors(), METADATA | {"modelspec.description": "new"}
    )


def test_header_is_sorted_json_of_the_length_it_states() -> None:
    data = lorafile.serialise(tensors(), METADATA)
    length = int.from_bytes(data[:8], "little")
    keys = list(json.loads(data[8 : 8 + length])["__metadata__"])
    assert keys == sorted(keys)
    assert length % 8 == 0


def test_module_names_end_at_the_first_dot() -> None:
    file = lorafile.LoraFile({"lora_te_a.lora_A.weight": torch.zeros(1), "lora_te_a.alpha": torch.zeros(())}, {})
    assert {name: set(parts) for name, parts in file.modules().items()} == {"lora_te_a": {"lora_down.weight", "alpha"}}


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "no such file"), (b"not a tensor", "is no readable safetensors file")]
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        lorafile.read_safetensors(path)


def test_a_refused_write_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrainingError, match="cannot be written"):
        lorafile.write_lora(tmp_path / "file" / "ink.safetensors", tensors(), {})
    assert (tmp_path / "file").read_text() == "x"
