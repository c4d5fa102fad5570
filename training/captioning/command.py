"""`lora-train caption`: write captions beside pictures."""

import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.captioning.captioner import Captioner, model_folder
from training.errors import InputError, TrainingError
from training.options import at_least, share
from training.terminal import say

INSTALL = f"{shlex.quote(sys.executable)} -m pip install"
"""Into the environment that this program runs in."""


class Kind(StrEnum):
    """Kinds of captions."""

    blip = "blip"
    tagger = "tagger"


class Device(StrEnum):
    """Where the model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def caption(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Folder of pictures, searched with its subfolders.", show_default=False),
    ],
    kind: Annotated[
        Kind, typer.Option("--with", help="Write sentences (blip) or Danbooru tags (tagger).")
    ] = Kind.tagger,
    model: Annotated[
        str | None,
        typer.Option(help="Folder of the model, or OWNER/NAME in the Hugging Face cache.", show_default=False),
    ] = None,
    trigger: Annotated[str, typer.Option(help="Word that every caption starts with.")] = "",
    prefix: Annotated[str, typer.Option(help="Text before the model's caption.")] = "",
    suffix: Annotated[str, typer.Option(help="Text after the model's caption.")] = "",
    threshold: Annotated[
        float, typer.Option(parser=share, metavar="0-1", help="Lowest score of a general tag.")
    ] = 0.35,
    character_threshold: Annotated[
        float, typer.Option(parser=share, metavar="0-1", help="Lowest score of a character tag.")
    ] = 0.85,
    blacklist: Annotated[str, typer.Option(help="Tags to leave out, separated by commas.")] = "",
    batch: Annotated[int, typer.Option(parser=at_least(1), metavar="N", help="Pictures per batch.")] = 8,
    device: Annotated[Device, typer.Option(help="auto: the GPU if there is one.")] = Device.auto,
    extension: Annotated[str, typer.Option(help="Extension of the caption files.")] = ".txt",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also replace captions edited by hand.")] = False,
) -> None:
    """Caption pictures with a model. Run it again to continue; captions edited by hand are kept."""
    from training.captioning.caption_writer import CaptionFormat, CaptionWriter, pictures_below

    if extension not in (".txt", ".caption"):
        raise InputError(f"--extension {extension}: must be .txt or .caption, which the trainer reads")
    pictures = pictures_below(folder)
    unwanted = frozenset(tag.strip().replace("_", " ") for tag in blacklist.split(",") if tag.strip())
    make: Callable[[], Captioner] = (
        (lambda: _blip(model, device))
        if kind is Kind.blip
        else (lambda: _tagger(model, device, threshold, character_threshold, unwanted))
    )
    tally = CaptionWriter(CaptionFormat(trigger, prefix, suffix), extension, overwrite).write(
        pictures, make(), batch, say
    )
    say(
        f"{folder}: {tally.written} captions written, {tally.done} were done before, "
        f"{tally.kept} by hand kept, {tally.failed} pictures unreadable"
    )
    if tally.failed:
        raise TrainingError(f"{tally.failed} of {len(pictures)} pictures have no caption; see above")


def _blip(model: str | None, device: Device) -> Captioner:
    import torch

    from training.captioning.blip import MODEL, Blip

    there = torch.cuda.is_available()
    if device is Device.cuda and not there:
        raise InputError("--device cuda: torch sees no GPU here; use --device cpu")
    where = torch.device("cuda" if there and device is not Device.cpu else "cpu")
    return Blip(model_folder(model or MODEL, "config.json"), where)


def _tagger(
    model: str | None, device: Device, threshold: float, characters: float, unwanted: frozenset[str]
) -> Captioner:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"taggers need onnxruntime: {INSTALL} onnxruntime (or onnxruntime-gpu); or use --with blip"
        ) from error
    from training.captioning.tagger import MODEL, WEIGHTS, TagChoice, Tagger

    providers = ["CPUExecutionProvider"]
    if device is not Device.cpu and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    elif device is Device.cuda:
        raise InputError(f"--device cuda: this onnxruntime has no CUDA: {INSTALL} onnxruntime-gpu; or use --device cpu")
    return Tagger(model_folder(model or MODEL, WEIGHTS), TagChoice(threshold, characters, unwanted), providers)
