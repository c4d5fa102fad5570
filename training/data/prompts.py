"""Prompts of sample pictures, in kohya's syntax. Imports without torch."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from training.errors import InputError
from training.sections.data import LARGEST_SIDE
from training.sections.output import SAMPLER_ALIASES, Sample, Sampler
from training.textfile import read_text

OPTION = re.compile(r"\s--(\w+)\s+")
MOST_STEPS = 1000
SHOWN = 100
"""Characters of a prompt that an error quotes."""


@dataclass(frozen=True)
class Prompt:
    """One picture to draw."""

    text: str
    negative: str = ""
    width: int = 512
    height: int = 512
    seed: int = 0
    guidance: float = 7.5
    steps: int = 30
    sampler: str = "ddim"


def sample_prompts(sample: Sample, resolution: tuple[int, int], seed: int) -> list[Prompt]:
    """All prompts of the settings and their prompts file, in which lines that start with # are comments.

    Prompts without a seed take `seed`, `seed` + 1 and so on, by position.

    Raises InputError with every line that is wrong.
    """
    lines = [("sample.prompts", line) for line in sample.prompts]
    if sample.prompts_file:
        try:
            text = read_text(sample.prompts_file)
        except InputError as error:
            raise InputError(f"sample.prompts_file: {error}") from error
        lines += [(f"{sample.prompts_file}:{at}", line) for at, line in enumerate(text.split("\n"), 1)]
    wanted = [(where, line) for where, line in lines if line.strip() and not line.startswith("#")]
    found, problems = [], []
    for place, (where, line) in enumerate(wanted):
        try:
            found.append(parse_prompt(line, *resolution, seed + place, sample.sampler))
        except InputError as error:
            problems += [f"{where}: {problem}" for problem in error.problems]
    if problems:
        raise InputError(problems)
    return found


def parse_prompt(line: str, width: int = 512, height: int = 512, seed: int = 0, sampler: str = "ddim") -> Prompt:
    """A line like `a cat --n blurry --w 512 --h 768 --d 1 --l 7.5 --s 20 --ss euler_a`.

    The other arguments are defaults. Raises InputError naming the option that is wrong.
    """
    text, *rest = OPTION.split(line.strip() + " ")
    found: dict[str, Any] = {"text": text.strip(), "width": width, "height": height, "seed": seed, "sampler": sampler}
    for option, value in zip(rest[::2], rest[1::2], strict=True):
        try:
            found |= _read(option, value.strip())
        except ValueError as error:
            shown = line.strip() if len(line.strip()) <= SHOWN else f"{line.strip()[:SHOWN]}..."
            raise InputError(f"sample prompt {shown!r}: --{option[:SHOWN]} {error}") from error
    return Prompt(**found)


def prompt_texts(wanted: Sequence[Prompt]) -> list[str]:
    """Every text that must be encoded to draw the prompts."""
    return sorted({text for prompt in wanted for text in (prompt.text, prompt.negative)})


def _read(option: str, value: str) -> dict[str, Any]:
    """The setting of one option. Raises ValueError with what is wrong with it."""
    match option:
        case "n":
            return {"negative": value}
        case "w" | "h":
            side = max(64, _whole(value) // 8 * 8)
            if side > LARGEST_SIDE:
                raise ValueError(f"must be at most {LARGEST_SIDE} (is {_cut(value)})")
            return {"width" if option == "w" else "height": side}
        case "d":
            return {"seed": _whole(value)}
        case "s":
            return {"steps": max(1, min(MOST_STEPS, _whole(value)))}
        case "l":
            return {"guidance": _number(value)}
        case "ss":
            name = SAMPLER_ALIASES.get(value, value)
            if name not in get_args(Sampler):
                raise ValueError(f"names no sampler: {_cut(value)}; known are {', '.join(get_args(Sampler))}")
            return {"sampler": name}
        case "g" | "fs":  # of SD 3 and Flux; sd-scripts reads and does not use them for these families
            _number(value)
            return {}
        case _:
            raise ValueError("is unknown; known are n, w, h, d, l, s, ss")


def _whole(value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise ValueError(f"needs a whole number (is {_cut(value)})") from error


def _number(value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"needs a number (is {_cut(value)})")
    return found


def _cut(value: str) -> str:
    return repr(value if len(value) <= SHOWN else f"{value[:20]}...")
