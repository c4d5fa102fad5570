"""What the page shows, as types. Times are in s since the epoch."""

import calendar
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from deploy.documents import Failure
from deploy.releases import state as state_of_release
from deploy.rollout.state import Mark
from deploy.runs.progress import Point, Sample
from deploy.runs.report import SAMPLE
from deploy.shapes import DrawingState, HostState, Level, Release, Run
from deploy.status import health
from roles.drawing import TITLES
from roles.onhost.drawing_applications import APPLICATIONS

POINTS = 240
"""Points of a loss curve."""
SAMPLES = 400
"""Pictures of a run that the page knows; of more, the last ones."""
LONGEST_PROMPT = 400

Reach = Literal["waiting", "answers", "lost", "failed"]
"""`waiting`: not asked yet; `lost`: cannot be reached; `failed`: was reached, but what it says cannot be used."""


@dataclass(frozen=True)
class ReleaseView:
    """A release of an application."""

    release: str
    state: str
    current: bool
    since: str
    by: str
    differs: str


@dataclass(frozen=True)
class UpdateView:
    """What the last update came to on a host."""

    rollout: str
    state: str
    by: str
    at: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class HostView:
    """A host: what was last known of it, and whether it still answers."""

    name: str
    address: str
    groups: tuple[str, ...]
    reach: Reach = "waiting"
    since: float = 0.0
    """Since when `reach` is what it is."""
    error: Failure | None = None
    warning: str = ""
    level: Level = "good"
    drawing: Mapping[str, str] = field(default_factory=dict)
    """By role, how each application that draws is, in the words of `sdfleet status`."""
    problems: tuple[str, ...] = ()
    state: HostState | None = None
    loads: tuple[tuple[int | None, ...], ...] = ()
    """Of each GPU its load in the last rounds, in percent."""
    releases: Mapping[str, tuple[ReleaseView, ...]]
    update: UpdateView | None = None
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True)
class SampleView:
    """A picture that a run has drawn."""

    key: str
    """Names it in its run: STEP-PROMPT."""
    step: int
    prompt: str


@dataclass(frozen=True)
class RunDetail:
    """What is large of a run: its curve and its pictures."""

    host: str
    name: str
    curve: tuple[Point, ...]
    samples: tuple[SampleView, ...]


def release_views(apps: Mapping[str, Sequence[Release]]) -> dict[str, tuple[ReleaseView, ...]]:
    """The releases of a host by application."""
    return {
        app: tuple(
            ReleaseView(one.release, state_of_release(one).plain, one.current, one.since, one.by, one.differs)
            for one in found
        )
        for app, found in apps.items()
    }


def update_view(mark: Mark | None) -> UpdateView | None:
    """What a mark says."""
    return UpdateView(mark.rollout, mark.state, mark.by, _seconds(mark.at), mark.reason) if mark else None


def _seconds(utc: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(utc, "%Y-%m-%dT%H:%M:%SZ")))
    except (ValueError, OverflowError):
        return 0.0


def silence(role: str, app: DrawingState) -> str:
    """Why one that should answer does not, in the words of `sdfleet status`; empty if it does."""
    if app.answers:
        return ""
    told = health(app).plain
    return f"{APPLICATIONS[role].NAME} {'is' if app.release is None else 'gives'} {told}"


def judged(state: HostState) -> tuple[Level, dict[str, str], tuple[str, ...]]:
    """How well a host is, how what draws is in words, by role, and each thing that is not as it should be."""
    bad = list(filter(None, (silence(role, app) for role, app in state.drawing.items())))
    bad += [f"{name} is {what}" for name, what in state.services.items() if what != "active"]
    warnings = [f"{TITLES[role]}: {app.problem}" for role, app in state.drawing.items() if app.problem]
    warnings += [state.gpu_problem] if state.gpu_problem else []
    warnings += [f"missing: {name}" for name in state.models.missing]
    warnings += ["nothing has started its services since it was stopped"] if state.asleep else []
    warnings += state.unconfirmed
    warnings += ["nothing looks whether it is idle"] if state.idle and not state.idle.looks else []
    told = {role: health(app).plain for role, app in state.drawing.items()}
    return ("bad" if bad else "warning" if warnings else "good"), told, (*bad, *warnings)


def curve(points: Sequence[Point], most: int = POINTS) -> tuple[Point, ...]:
    """At most `most` points: each the mean of its share, at the step of the last."""
    count = min(most, len(points))
    shares = (points[index * len(points) // count : (index + 1) * len(points) // count] for index in range(count))
    return tuple(
        Point(share[-1].step, sum(p.loss for p in share) / len(share), sum(p.smooth for p in share) / len(share))
        for share in shares
    )


def sample_files(samples: Sequence[Sample]) -> dict[str, Sample]:
    """By their keys, the pictures that a run's log names; those whose name is not one that a run gives are left out."""
    found = {}
    for sample in samples[-SAMPLES:]:
        match = SAMPLE.fullmatch(sample.file)
        if match and "/" not in sample.file and "\0" not in sample.file:
            found[f"{match[1]}-{match[2]}"] = sample
    return found


def sample_views(files: Mapping[str, Sample]) -> tuple[SampleView, ...]:
    """The same for the page."""
    return tuple(SampleView(key, int(key[:8]), one.prompt[:LONGEST_PROMPT]) for key, one in files.items())
