"""Print a pickle's tensors as a safetensors file. Runs in a unit that has no network and can write nowhere."""

import argparse
import json
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import Any, BinaryIO

import torch

ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
}
"""All that tensors need; classes of storages are torch's own affair, which asks for them by name."""

PROGRAM_RECORD = "constants.pkl"
"""What torch takes for the mark of TorchScript."""

WRAPPERS = ("state_dict", "params_ema", "params")
"""Keys under which training programs put the weights."""

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class Inert:
    """Stands for every object that is no tensor: takes whatever the pickle does with it, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, *_: Any) -> None: ...

    def append(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None: ...


class Tensors(pickle.Unpickler):
    """An unpickler that knows tensors and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function of that name, if it is needed for tensors."""
        return super().find_class(module, name) if (module, name) in ALLOWED else Inert

    @staticmethod
    def load_one(file: BinaryIO, **options: Any) -> Any:
        """What pickle.load does."""
        return Tensors(file, **options).load()


def is_zip(file: str) -> bool:
    """Whether torch.load takes the file for a zip archive: it looks at how the file begins, and at nothing else."""
    with Path(file).open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def tensors(file: str) -> dict[str, torch.Tensor]:
    """The file's tensors by name; SystemExit if it has none."""
    zipped = is_zip(file)
    # torch.load hands such an archive to torch.jit.load, which runs the code in it, whatever the unpickler is.
    if zipped and PROGRAM_RECORD in torch._C.PyTorchFileReader(file).get_all_records():
        sys.exit("it is a TorchScript archive: a program, of which no safetensors file can be made")
    module = types.ModuleType("tensors_only")
    vars(module).update(Unpickler=Tensors, load=Tensors.load_one, __name__="tensors_only")
    loaded = torch.load(file, map_location="cpu", pickle_module=module, weights_only=False, mmap=zipped)
    if isinstance(loaded, dict) and "string_to_param" in loaded:  # a textual inversion
        loaded = {"emb_params": next(iter(loaded["string_to_param"].values()))}
    for key in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    found = loaded.items() if isinstance(loaded, dict) else ()
    named = {name: value for name, value in found if isinstance(name, str) and isinstance(value, torch.Tensor)}
    if not named:
        sys.exit("it holds no tensors by name, so there is nothing that a safetensors file could hold")
    if odd := sorted({str(value.dtype) for value in named.values() if value.dtype not in DTYPES}):
        sys.exit(f"it holds tensors of type {', '.join(odd)}, which a safetensors file cannot hold")
    return named


def write(named: dict[str, torch.Tensor], out: BinaryIO) -> None:
    """A safetensors file: wide types first, so that each lies at a multiple of its size, then by name."""
    order = sorted(named, key=lambda name: (-named[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        start, end = end, end + named[name].numel() * named[name].element_size()
        header[name] = {
            "dtype": DTYPES[named[name].dtype], "shape": list(named[name].shape), "data_offsets": [start, end]
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out.write(struct.pack("<Q", len(text)) + text)
    for name in order:
        out.write(named[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def main() -> None:
    """Read the file named on the command line, write to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="the pickle (.ckpt, .pt, .pth, .bin)")
    try:
        named = tensors(parser.parse_args().file)
    except (
        pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError, KeyError, ValueError, IndexError,
        MemoryError, OSError, AssertionError,
    ) as error:  # fmt: skip
        sys.exit(f"it cannot be read as a pickle of tensors: {error}")
    write(named, sys.stdout.buffer)
