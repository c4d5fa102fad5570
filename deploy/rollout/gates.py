"""The gates of a rollout: checks that a host's WebUI must pass before the next wave begins."""

import base64
import binascii
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploy import units
from deploy.connection.ssh import Remote
from deploy.onhost import gate
from deploy.onhost.picture_cost import IDLE_SECONDS, MEASURE_SECONDS
from deploy.rollout import cost
from inventory.model import HostSettings
from inventory.rollout import Rollout
from roles.accounts import WEBUI
from roles.drawing import state_file
from roles.facts.seen import as_user
from roles.onhost.journal import without_numbers
from roles.onhost.png_pixels import PictureError, distinct_colours, pixels
from roles.paths import Paths

Seen = dict[str, Any]
"""The answer of deploy/onhost/gate.py, without the errors that fleet.rollout.journal_ignore names."""

COMFYUI = "comfyui"
UNSEEN: Seen = {"errors": [], "picture": ""}
"""What was seen of a service that was not there."""
COST = "cost"
"""The gate that is tried again before it is believed."""
SLACK: cost.Figures = {"seconds": 0.25, "bytes": 64e6}
"""What a picture may take more in any case: a small one takes milliseconds, which anything doubles."""
TOLD = 3
"""Number of journal lines in a failure."""


@dataclass(frozen=True)
class Failure:
    """A gate that one host did not pass."""

    host: str
    gate: str
    """apply, stable, health, picture, journal, cost, training or confirm."""
    said: str
    log: tuple[str, ...] = ()
    """Lines of the service's journal."""
    follows: bool = False
    """Whether another host's failure is the cause."""


def look(remote: Remote, settings: Rollout, seconds: float, measured: Collection[str] = ()) -> Seen:
    """Watch what draws on a host for `seconds` each and let it generate a picture. Raises HostError.

    The answer is the WebUI's; ComfyUI's is in it by its name.

    + measured: the applications that generate a few more pictures, to be measured
    """
    seen = _look(remote, "webui", settings, seconds, "webui" in measured)
    if not remote.host.has(COMFYUI):
        return seen
    return {**seen, COMFYUI: _look(remote, COMFYUI, settings, seconds, COMFYUI in measured)}


def _look(remote: Remote, app: str, settings: Rollout, seconds: float, measured: bool) -> Seen:
    host = remote.host
    its = host.webui if app == "webui" else host.comfyui
    measuring = MEASURE_SECONDS + IDLE_SECONDS + settings.picture_seconds if measured else 0
    seen: Seen = remote.call(
        gate,
        timeout=seconds + 2 * settings.picture_seconds + 60 + measuring,
        app=app,
        apps=str(host.paths.root / "apps"),
        unit=units.SERVICES[app],
        state=state_file(units.SERVICES[app]),
        port=its.port,
        seconds=seconds,
        stable_seconds=max(settings.stable_seconds, seconds),
        picture_seconds=settings.picture_seconds,
        convert=converter(host.paths),
        pictures=cost.PICTURES if measured else 0,
    )
    ignored = [re.compile(pattern) for pattern in settings.journal_ignore]
    for key in ("errors", "late_errors"):
        seen[key] = [text for text in seen[key] if not any(pattern.search(text) for pattern in ignored)]
    return seen


def converter(paths: Paths) -> list[str]:
    """The words before a program on a host that converts a picture, as the WebUI's user and with its Pillow."""
    return [*as_user(WEBUI).split(), str(paths.current("webui") / "env/bin/python"), "-I"]


def of_app(seen: Seen, app: str) -> Seen:
    """What was seen of one application that draws."""
    found: Seen = seen if app == "webui" else seen.get(COMFYUI, UNSEEN)
    return found


def judge_host(host: HostSettings, before: Seen, after: Seen, settings: Rollout) -> Failure | None:
    """The gate that one of a host's applications did not pass, if any; see `judge`."""
    failure = judge(host.name, before, after, settings) if host.has("webui") else None
    if failure or not host.has(COMFYUI):
        return failure
    failure = judge(host.name, before.get(COMFYUI, UNSEEN), after[COMFYUI], settings)
    return replace(failure, said=f"ComfyUI: {failure.said}") if failure else None


def judge(host: str, before: Seen, after: Seen, settings: Rollout) -> Failure | None:
    """The gate that a host did not pass, if any. An answer that cannot be judged does not pass.

    + before, after: answers of `look` before and after the update
    """
    try:
        return _judge(host, before, after, settings)
    except Exception as error:
        # No error may end the rollout here: the host would stay on a release that has not passed.
        return unjudged(host, error)


def unjudged(host: str, error: Exception) -> Failure:
    """The gate that a host did not pass because of an answer that nobody expected."""
    return Failure(host, "health", f"its answer cannot be judged: {type(error).__name__}: {error}")


def _judge(host: str, before: Seen, after: Seen, settings: Rollout) -> Failure | None:
    # If the old release has run for longer than its host keeps journals, nothing says what it wrote at its start.
    news = new_errors(before["errors"], after["errors" if before.get("start_known", True) else "late_errors"])
    log = tuple(news[-TOLD:])
    if after["failed"]:
        return Failure(host, after["failed"], after["said"], log)
    if said := _picture(before, after, settings.tolerance):
        return Failure(host, "picture", said, log)
    if news:
        return Failure(host, "journal", "it logs errors that the old release did not", log)
    # Of another model nothing can be compared.
    if before.get("model") == after.get("model") and (said := _cost(before, after, settings)):
        return Failure(host, COST, said, log)
    return None


def _cost(before: Seen, after: Seen, settings: Rollout) -> str:
    return cost.excess("the picture", cost.of_pictures(before), cost.of_pictures(after), settings, SLACK)


def new_errors(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Lines of `after` that are not in `before`, ignoring numbers."""
    known = {without_numbers(line) for line in before}
    return [line for line in after if without_numbers(line) not in known]


def _picture(before: Seen, after: Seen, tolerance: float) -> str:
    """What is wrong with the picture; empty if nothing is, or if there was no checkpoint before either."""
    if not after["picture"]:
        return "it no longer generates pictures: no checkpoint is loaded" if before["picture"] else ""
    try:
        png = base64.b64decode(after["picture"], validate=True)
        if distinct_colours(png) < 2:
            return "the picture has a single colour: the model computes NaN"
        if not before["picture"] or any(before.get(key) != after.get(key) for key in ("model", "format")):
            return ""
        old = base64.b64decode(before["picture"])
        if not readable(old):
            return ""
        far = difference(old, png)
    except (PictureError, binascii.Error, ValueError) as error:
        return f"the picture cannot be read: {error}"
    if far <= tolerance:
        return ""
    return (
        f"with the same model, prompt and seed its picture differs from the old release's by {far:.1f} of 255; "
        f"fleet.rollout.tolerance is {tolerance:g}"
    )


def readable(png: bytes) -> bool:
    """Whether a picture can be compared: a release whose picture cannot be read can still be updated."""
    try:
        pixels(png)
    except PictureError:
        return False
    return True


def difference(one: bytes, other: bytes) -> float:
    """Mean absolute difference of two 8-bit PNGs, 0..255 a channel; 255 if their sizes differ."""
    (first_channels, first), (second_channels, second) = pixels(one), pixels(other)
    if (first_channels, len(first)) != (second_channels, len(second)):
        return 255
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / max(len(first), 1)
