"""Which LoRA files the WebUI would ignore: told from the names of their tensors, without torch.

What the WebUI 1.10.1 reads: all before a key's first dot names a module, in kohya's way, and the rest must make up a
kind of network that it knows. Other modules it passes over without a word, even when that is all of the file; other
rests of a known module end in an AssertionError in its log. Both times the picture comes as if nothing were wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from roles.onhost import confined, nofollow, tensor_names

SECONDS = 40
"""How long all files of a folder may take together; some hundred of them take ten."""
MODULES = re.compile(
    r"(lora_unet|lora_te|lora_te1|lora_te2|oft_unet|diffusion_model|transformer|0_transformer|1_model)_"
)
"""How the names of modules begin that the WebUI knows."""
NETWORKS = (
    {"lora_up.weight", "lora_down.weight"},
    {"lora_A.weight", "lora_B.weight"},
    {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
    {"weight", "on_input"},
    {"lokr_w1", "lokr_w2"},
    {"lokr_w1_a", "lokr_w1_b", "lokr_w2"},
    {"lokr_w1", "lokr_w2_a", "lokr_w2_b"},
    {"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"},
    {"diff"},
    {"w_norm", "b_norm"},
    {"a1.weight", "a2.weight", "alpha", "b1.weight", "b2.weight"},
    {"oft_blocks"},
    {"oft_diag"},
)
"""Parts of a module that make up a network of a kind that it knows; more may stand beside them."""


def main() -> None:
    """Print as JSON what is wrong with the files below a folder."""
    print(json.dumps(ignored_below(*sys.argv[1:])))


def ignored_below(folder: str, store: str) -> dict[str, str]:
    """What is wrong with the LoRA files below a folder, by their paths; those that are read are left out.

    If time runs out, FOLDER stands for the links that were not looked at, FOLDER/* for the other files.

    The WebUI can write there. Of its links only those into `store`, which is root's, are followed, and these files come
    first: what it adds can use up the time of its own files alone.
    """
    found = {}
    until = time.monotonic() + SECONDS
    for linked in (True, False):
        for path, stream in _files(folder, store, linked):
            if time.monotonic() > until:
                found[folder if linked else f"{folder}/*"] = f"not all of its files were looked at in {SECONDS} s"
                break
            found[f"{folder}/{path}"] = _said(stream)
    return {file: why for file, why in found.items() if why}


def _files(folder: str, store: str, linked: bool) -> Iterator[tuple[str, IO[bytes]]]:
    """The files below a folder, open: those that are links into the store, or those that are none."""
    with contextlib.suppress(OSError):
        for path, parent, name in nofollow.files_below(folder, links=True):
            if name.endswith(".safetensors"):
                with contextlib.suppress(OSError), _open(parent, name, store, linked) as stream:
                    yield path, stream


def _open(parent: int, name: str, store: str, linked: bool) -> IO[bytes]:
    try:
        target = os.readlink(name, dir_fd=parent)
    except OSError:  # no link
        if linked:
            raise
        return nofollow.open_in(parent, name)
    if not linked or not Path(target).is_relative_to(store):
        raise nofollow.UnsafeError(f"{name} leads to {target}")
    return nofollow.open_file(target)


def ignored(file: Path) -> str:
    """Why the WebUI ignores a LoRA file, or part of it; empty if it reads it, or if this is no safetensors file."""
    try:
        with file.open("rb") as stream:
            return _said(stream)
    except OSError:
        return ""


def _said(stream: IO[bytes]) -> str:
    try:
        keys = tensor_names.ask(stream)
    except confined.StrangeFileError as error:
        return f"cannot be read: {error}"
    return judge(keys) if keys else ""


def judge(keys: Iterable[str]) -> str:
    """What the WebUI does not read of a file with these keys, as a sentence; empty if it reads all."""
    modules: dict[str, set[str]] = {}
    for key in keys:
        module, _, part = key.partition(".")
        if module != "bundle_emb":
            # Outside of kohya's names all keys of a file would be of one module, "unet".
            modules.setdefault(module if MODULES.match(module) else key, set()).add(part)
    unknown = sorted(name for name in modules if not MODULES.match(name))
    unread = sorted(name for name, parts in modules.items() if name not in unknown and not _network(parts))
    if not modules or len(unknown) == len(modules):
        first = f": its keys are named {unknown[0]!r} and so on, not as kohya's" if unknown else ": it holds no network"
        return f"the WebUI ignores it silently{first}"
    if unread:
        return (
            f"the WebUI reads none of it: {unread[0]} has {', '.join(sorted(modules[unread[0]]))}, no network it knows"
        )
    return f"the WebUI ignores {len(unknown)} of its {len(modules)} modules, such as {unknown[0]!r}" if unknown else ""


def _network(parts: set[str]) -> bool:
    return any(kind <= parts for kind in NETWORKS)
