"""Converters from kohya's values to ours; each raises ValueError that says what is allowed."""

import ast
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from training.sections.optimisation import OptimizerKind, ScheduleKind
from training.sections.output import SAMPLER_ALIASES, Sampler
from training.spelling import did_you_mean_or_all

Convert = Callable[[Any], Any]

_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off", ""}
_WHOLE = re.compile(r"[+-]?\d+(_\d+)*")
_OPTIMIZERS = {name.lower(): name for name in get_args(OptimizerKind)}
_PRECISIONS = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}


def is_off(value: Any) -> bool:
    """Whether a value is absent, empty, false or zero."""
    return value in (None, "", False, 0, "0", "false") or value == [] or value == {}


def as_is(value: Any) -> Any:
    """The value itself."""
    return value


def flag(value: Any) -> bool:
    """A boolean in any spelling, as in arguments of networks."""
    text = str(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError("must be true or false")


def switch(value: Any) -> bool:
    """A boolean of a file: text for "off" is refused, as sd-scripts takes any text there for "on"."""
    found = flag(value)
    if isinstance(value, str) and value and not found:
        raise ValueError("must be true or false without quotes; sd-scripts takes any text for true")
    return found


def number(value: Any) -> float:
    """A finite number, also if it is written as text ("1e-4")."""
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError("must be a number")
    return int(found) if isinstance(value, int | str) and found == int(found) and abs(found) < 2**53 else found


def share_or_steps(value: Any) -> float:
    """A number of steps, a share below 1, or the share in percent ("10%")."""
    text = str(value).strip()
    if text.endswith("%"):
        return number(text[:-1]) / 100
    found = number(value)
    if found >= 1:
        whole(value)
    return found  # 100.0 stays a fraction: the fingerprints of runs tell it from 100


def whole(value: Any) -> int:
    """A whole number; text is read as by sd-scripts' command line, which does not take "1e3" or "16.0" for one."""
    found = number(value)
    if found != int(found) or (isinstance(value, str) and not _WHOLE.fullmatch(value.strip())):
        raise ValueError("must be a whole number")
    return int(found)


def positive(value: Any) -> float | None:
    """A number, or None where 0 switches it off."""
    return number(value) or None


def count(value: Any) -> int | None:
    """A whole number, or None where 0 switches it off."""
    return whole(value) or None


def rate(value: Any) -> float | None:
    """A learning rate; of a list sd-scripts uses the first for all text encoders, with the networks read here."""
    rates = [number(item) for item in value] if isinstance(value, list) else [number(value)]
    return rates[0] if rates else None


def at_least_one(value: Any) -> int:
    """A whole number where 0 means the same as 1 (clip_skip)."""
    return max(1, whole(value))


def token_length(value: Any) -> int:
    """The caption length that sd-scripts makes of a number: whole chunks of 75 tokens."""
    pieces = max(1, -(-(whole(value) - 74) // 75))
    if pieces > 3:
        raise ValueError("is too long; captions of up to 225 tokens can be read")
    return 75 * pieces


def bucket_step(value: Any) -> int:
    """The step of buckets' sides, of which sd-scripts takes some only."""
    found = whole(value)
    if found % 8 or found < 8:
        raise ValueError("must be a multiple of 8; sd-scripts takes multiples of 64, for SDXL of 32")
    return found


def sides(value: Any) -> Any:
    """Width and height cut to whole latents of 8 pixels, as the VAE cuts them; what is no size stays as it is."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    try:
        found = [whole(part) for part in parts]
    except ValueError:
        return value
    if not any(side % 8 for side in found):
        return value
    cut = [side - side % 8 for side in found]
    return cut[0] if len(cut) == 1 else cut


def optimizer(value: Any) -> str:
    """An optimiser's name; kohya ignores case."""
    return _one_of(str(value), _OPTIMIZERS, "optimiser")


def schedule(value: Any) -> str:
    """A schedule's name; the rate of adafactor:RATE only shows in sd-scripts' logs."""
    text = str(value)
    if text.startswith("adafactor:"):
        number(text.removeprefix("adafactor:"))
        return "adafactor"
    return _one_of(text, {name: name for name in get_args(ScheduleKind)}, "schedule")


def sampler(value: Any) -> str:
    """A sampler's name; the k_ ones are the same samplers."""
    names = {name: name for name in get_args(Sampler)} | SAMPLER_ALIASES
    return _one_of(str(value), names, "sampler")


def precision(value: Any) -> str:
    """A number format: kohya's no and float are fp32."""
    return _one_of(str(value), _PRECISIONS, "precision")


def one_extension(value: Any) -> tuple[str]:
    """kohya reads captions of one ending only."""
    if not isinstance(value, str):
        raise ValueError("must be the ending of a file's name, like .txt")
    return (value if value.startswith(".") else f".{value}",)


def arguments(value: Any) -> dict[str, Any]:
    """A table from kohya's ["weight_decay=0.01", "betas=0.9,0.99"], each value read as a Python literal."""
    items = value.split() if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError('must be a list of "name=value"')
    found: dict[str, Any] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name.strip():
            raise ValueError(f'must be a list of "name=value" (one item is {item!r})')
        try:
            found[name.strip()] = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError):
            found[name.strip()] = text.strip()
    return found


def _one_of(value: str, names: Mapping[str, str], what: str) -> str:
    found = names.get(value) or names.get(value.lower())
    if found is None:
        raise ValueError(f"no {what} {value!r} here{did_you_mean_or_all(value, set(names.values()))}")
    return found
