"""Captions: read from files beside the pictures, varied each time a picture is shown."""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

from training.errors import InputError
from training.sections.data import Captions

_WILDCARD = re.compile(r"\{([^}]+)\}")
_BRACES = (("{{", "\0"), ("}}", "\1"))
"""Doubled braces, which are literal, and placeholders that no caption contains."""


def read_caption(picture: Path, settings: Captions, fallback: str) -> str:
    """The caption of `picture`: its caption file's text as `caption_lines` reads it, else `fallback`.

    Raises InputError if there is no file and captions are required, or if it is not UTF-8 text.
    """
    if file := caption_file(picture, settings):
        try:
            return caption_lines(file.read_text(encoding="utf-8-sig"), settings)
        except UnicodeDecodeError as error:
            raise InputError(f"{file}: is not UTF-8 text; save it as UTF-8") from error
    if settings.required:
        raise InputError(
            f"{picture}: has no caption ({' or '.join(settings.extensions)}); write one, "
            "or set data.captions.required = false"
        )
    return fallback


def caption_lines(text: str, settings: Captions) -> str:
    """The part of a caption file that is used: all lines joined, or the first; with wildcards all lines, separate."""
    lines = [" ".join(line.split()) for line in text.split("\n")]
    if settings.wildcards:
        return "\n".join(line for line in lines if line)
    return lines[0] if settings.lines == "first" else " ".join(line for line in lines if line)


def caption_file(picture: Path, settings: Captions) -> Path | None:
    """The caption file of `picture`, None if it has none."""
    return next(caption_files(picture, settings), None)


def caption_files(picture: Path, settings: Captions) -> Iterator[Path]:
    """The caption files of `picture`; the first is read."""
    files = (picture.with_suffix(ending) for ending in settings.extensions)
    # os.path: with another suffix a long name may be too long for a file, for which pathlib raises.
    return (file for file in files if os.path.isfile(file))  # noqa: PTH113


def vary_caption(caption: str, settings: Captions, epoch: int, draw: random.Random) -> str:
    """The caption for one showing, by kohya's rules for dropout, shuffling and kept parts.

    `epoch` counts from 1. The number of draws depends only on settings and caption.
    """
    caption = " ".join(part for part in (settings.prefix, caption, settings.suffix) if part)
    if settings.dropout and draw.random() < settings.dropout:
        return ""
    if settings.dropout_every_epochs and epoch % settings.dropout_every_epochs == 0:
        return ""
    if settings.wildcards:
        caption = _choose(caption, draw)
    kept, loose, tail = _split(caption, settings)
    if not (settings.shuffle or settings.tag_dropout):
        return caption.replace(settings.keep_tokens_separator, "") if settings.keep_tokens_separator else caption
    if settings.shuffle:
        draw.shuffle(loose)
    if settings.tag_dropout:
        loose = [part for part in loose if draw.random() >= settings.tag_dropout]
    return f"{settings.separator} ".join([*kept, *loose, *tail])


def possible_captions(caption: str, settings: Captions) -> set[str]:
    """Every caption that `vary_caption` may return, for captions whose parts never change."""
    kept = settings.model_copy(update={"dropout": 0.0, "dropout_every_epochs": 0})
    shown = {vary_caption(caption, kept, 1, random.Random(0))}
    return shown | {""} if settings.dropout or settings.dropout_every_epochs else shown


def _choose(caption: str, draw: random.Random) -> str:
    """One of the caption's lines, with one of the words of each {red|blue}; {{ and }} are literal braces."""
    caption = draw.choice(caption.split("\n"))
    for braces, mark in _BRACES:
        caption = caption.replace(braces, mark)
    caption = _WILDCARD.sub(lambda match: draw.choice(match[1].split("|")), caption)
    for braces, mark in _BRACES:
        caption = caption.replace(mark, braces[0])
    return caption


def _split(caption: str, settings: Captions) -> tuple[list[str], list[str], list[str]]:
    """Kept parts, loose parts, kept parts at the end."""
    mark = settings.keep_tokens_separator
    tail: list[str] = []
    if mark and mark in caption:
        head, _, rest = caption.partition(mark)
        rest, _, end = rest.partition(mark)
        return _parts(head, settings), _parts(rest, settings), _parts(end, settings)
    parts = _parts(caption, settings)
    return parts[: settings.keep_tokens], parts[settings.keep_tokens :], tail


def _parts(text: str, settings: Captions) -> list[str]:
    return [part.strip() for part in text.split(settings.separator) if part.strip()]
