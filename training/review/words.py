"""Captions, looked at: there, readable, not empty, not longer than CLIP reads."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from training.data import captions
from training.review.finding import Finding
from training.sections.data import PICTURE_ENDINGS, Captions

Count = Callable[[str], int]
"""Tokens of a text."""


def of_picture(picture: Path, settings: Captions, fallback: str, longest: int, count: Count | None) -> list[Finding]:
    """Findings on one picture's caption.

    + fallback: the caption without a file
    + longest: tokens that the text encoder is given
    + count: None if there is no tokenizer to count with
    """
    files = list(captions.files_of(picture, settings))
    if not files:
        if settings.required:
            return [Finding("bad", picture, f"has no caption ({' or '.join(settings.extensions)})")]
        instead = f"{fallback!r} from the folder's name" if fallback else "an empty one"
        return [Finding("warning", picture, f"has no caption; {instead} is used")]
    found = [Finding("warning", files[1], f"is not read: {files[0].name} comes first")] if len(files) > 1 else []
    try:
        text = files[0].read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        return [*found, Finding("bad", files[0], f"is not readable as UTF-8 text ({type(error).__name__}); save it so")]
    if not text.strip():
        return [*found, Finding("warning", files[0], "is empty")]
    if len(text.strip().splitlines()) > 1:
        found.append(Finding("note", files[0], _of_several_lines(settings)))
    lines = captions.lines_of(text, settings).split("\n")
    shown = (f"{settings.prefix} {line} {settings.suffix}".strip() for line in lines)
    tokens = max((count(line) for line in shown), default=0) if count else 0
    if tokens > longest:
        cut = f"has {tokens} tokens; what comes after {longest} is not read"
        more = "" if longest >= 225 else "; model.max_token_length can be raised to 225"
        found.append(Finding("warning", files[0], cut + more))
    return found


def _of_several_lines(settings: Captions) -> str:
    if settings.wildcards:
        return "has several lines; each time one of them is taken"
    if settings.lines == "first":
        return "has several lines; only the first is read, as in sd-scripts (data.captions.lines)"
    return 'has several lines, joined to one; sd-scripts reads the first alone (data.captions.lines = "first")'


def orphans(folder: Path, pictures: Sequence[Path], settings: Captions) -> Iterator[Finding]:
    """Caption files without a picture, and files that look like pictures but are none of the trainer's kinds."""
    stems = {picture.with_suffix("") for picture in pictures}
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.name.startswith("."):
            continue
        if file.suffix in settings.extensions:
            if file.with_suffix("") not in stems:
                yield Finding("warning", file, "belongs to no picture")
        elif file.suffix.lower() in settings.extensions:
            yield Finding("warning", file, f"is not read: the ending must be {file.suffix.lower()}, in small letters")
        elif file.suffix.lower() not in PICTURE_ENDINGS:
            yield Finding("note", file, f"is left out: the trainer reads {', '.join(sorted(PICTURE_ENDINGS))}")
