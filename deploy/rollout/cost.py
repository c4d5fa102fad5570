"""What a picture, or a step of training, costs with a release, against the one before on the same host."""

import json
import statistics
from collections.abc import Mapping
from typing import Any

from deploy.connection import hostlock
from deploy.connection.ssh import Remote
from inventory.rollout import Rollout

PICTURES = 5
"""How many pictures are measured in a turn."""
TURNS = 3
"""How often a release that seems to cost too much is measured, before it is believed."""
TURN_PAUSE_SECONDS = 3
MEMORY: Mapping[str, str] = {"card": "of the card's memory", "processes": "of main memory"}
"""The kinds of memory that are measured, the one that counts first; and what they are called."""

Figures = dict[str, float]
"""`seconds`, and bytes at the peak: `card`, `processes`. Those that are unknown are left out."""


def of_pictures(seen: Mapping[str, Any]) -> Figures:
    """What the pictures of one turn took; seconds are their median. Empty if nothing was measured.

    + seen: answer of deploy/onhost/gate.py
    """
    took = [float(seconds) for seconds in seen.get("took") or ()]
    if not took:
        return {}
    memory = {kind: int(seen[kind]) for kind in MEMORY if seen.get(kind)}
    return {"seconds": round(statistics.median(took), 4), **memory}


def least_of_turns(seen: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, Any]:
    """What was seen in a second turn, with the least of both: what else goes on on a host only makes figures larger."""
    if not again.get("took"):
        return {**again, **{key: seen[key] for key in ("took", *MEMORY) if key in seen}}
    if not seen.get("took"):
        return dict(again)
    # 0 is an unknown one.
    memory = {kind: min(filter(None, (seen[kind], again[kind])), default=0) for kind in MEMORY}
    return {**again, "took": min(seen["took"], again["took"], key=statistics.median), **memory}


def excess(what: str, old: Figures, new: Figures, settings: Rollout, slack: Figures) -> str:
    """What is too much of the new release's figures; empty if nothing is, or nothing is known of both.

    + what: that which takes them: "the picture"
    + slack: what may be more in any case
    """
    if "seconds" in old and "seconds" in new and new["seconds"] > old["seconds"] * settings.slower + slack["seconds"]:
        return (
            f"{what} takes {new['seconds']:.3g} s, with the old release {old['seconds']:.3g} s; fleet.rollout.slower "
            f"is {settings.slower:g}"
        )
    kind = _kind(old)
    if kind and kind == _kind(new) and new[kind] > old[kind] * settings.memory + slack["bytes"]:
        return (
            f"{what} takes {new[kind] / 1e9:.2f} GB {MEMORY[kind]} at its peak, with the old release "
            f"{old[kind] / 1e9:.2f} GB; fleet.rollout.memory is {settings.memory:g}"
        )
    return ""


def _kind(figures: Mapping[str, float]) -> str:
    """The memory by which a release is judged: main memory alone tells nothing of one that draws on a card."""
    return next((kind for kind in MEMORY if kind in figures), "")


def told(figures: Mapping[str, float], app: str) -> str:
    """Figures in a few words; empty if there are none."""
    words = []
    if seconds := figures.get("seconds"):
        words.append(f"{1 / seconds:.3g} steps/s" if app == "trainer" else f"{seconds:.3g} s")
    if kind := _kind(figures):
        words.append(f"{figures[kind] / 1e9:.2f} GB{' VRAM' if kind == 'card' else ''}")
    return ", ".join(words)


def note(remote: Remote, app: str, figures: Mapping[str, float], release: str = "") -> None:
    """Keep figures in the history of a host's application. Raises HostError.

    + release: whose they are; empty for the one that serves
    """
    if figures:
        words = ["--app", str(remote.host.paths.app(app)), "figures", "--release", release, json.dumps(figures)]
        remote.start("activate", *words, under=hostlock.STEP)
