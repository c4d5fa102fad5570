"""Loads the parts of diffusers folders."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.base import tensors
from training.base.files import has_vocabulary_in_parts
from training.errors import InputError


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """Load a part of a folder within it: what from_pretrained raises for damaged files is InputError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise
    # Not a list of errors: beside many kinds of Python's, the tokenizers library raises Exception itself.
    except Exception as error:
        why = f"no {error.args[0]}" if isinstance(error, KeyError) and error.args else str(error).strip()
        raise InputError(
            f"{folder}: its {what} cannot be read ({why}); download the folder again, or use another model"
        ) from error


def load_tokenizer(folder: Path) -> Any:
    """CLIP's tokenizer from a folder that `has_vocabulary`. Raises InputError if it is unreadable."""
    import transformers

    classes: Any = transformers  # its stubs know one of the two names
    # CLIPTokenizer of transformers 4 does not read tokenizer.json; transformers 5 has one class with two names.
    kind = classes.CLIPTokenizer if has_vocabulary_in_parts(folder) else classes.CLIPTokenizerFast
    with reading(folder, "tokenizer"):
        return kind.from_pretrained(str(folder), local_files_only=True)


def _variant(folder: Path) -> str | None:
    """The middle of the names of a part's weights, as in model.fp16.safetensors, if there are no others."""
    names = [file.name.split(".") for file in folder.glob("*.safetensors")]
    found = {name[1].split("-")[0] for name in names if len(name) == 3}
    return found.pop() if len(found) == 1 and all(len(name) == 3 for name in names) else None


def load_part(model_class: Any, folder: Path, what: str, **options: Any) -> nn.Module:
    """The model of a part's folder. Raises InputError if it is unreadable or incomplete, or if a number is not finite.

    `options` go to from_pretrained, which looks nothing up on the hub.
    """
    with reading(folder, what):
        model, loaded = model_class.from_pretrained(
            str(folder), local_files_only=True, output_loading_info=True, variant=_variant(folder), **options
        )
    # Both libraries would train on with random numbers in place of these.
    if missing := sorted(loaded["missing_keys"]):
        raise InputError(
            f"{folder}: its {what} is incomplete ({len(missing)} tensors are missing, first: {missing[0]}); "
            "download the folder again, or use another model"
        )
    tensors.refuse_nonfinite(folder, model.state_dict())
    part: nn.Module = model
    return part
