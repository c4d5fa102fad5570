"""What has happened: the differences of two views of a host, as sentences."""

from collections.abc import Iterator
from dataclasses import dataclass

from deploy.dashboard.views import HostView, silence
from deploy.runs.progress import duration
from deploy.shapes import Level
from roles.onhost.drawing_applications import APPLICATIONS

UPDATES: dict[str, tuple[Level, str]] = {
    "begun": ("warning", "update {id} begun by {by}"),
    "passed": ("good", "update {id} passed all gates"),
    "back": ("bad", "update {id} was rolled back: {reason}"),
    "failed": ("bad", "update {id} failed: {reason}"),
}
RUNS: dict[str, Level] = {"failed": "bad", "finished": "good"}


@dataclass(frozen=True)
class News:
    """One thing that has happened."""

    at: float
    host: str
    level: Level
    text: str


def differences(before: HostView, after: HostView, now: float) -> Iterator[News]:
    """What has happened between two views of a host."""

    def say(level: Level, text: str, at: float = now) -> News:
        return News(at, after.name, level, text)

    if after.update and after.update != before.update and after.update.state in UPDATES:
        level, text = UPDATES[after.update.state]
        said = text.format(id=after.update.rollout[:8], by=after.update.by, reason=after.update.reason or "no reason")
        yield say(level, said, after.update.at or now)
    if after.reach != before.reach and before.reach != "waiting":
        if after.reach == "answers":
            yield say("good", f"answers again after {duration(now - before.since)}")
        elif after.error:
            yield say("bad", after.error.what)
    if after.reach == "lost" and before.reach == "waiting" and after.error:
        yield say("bad", after.error.what)
    if before.state and after.state:
        yield from (say(*told) for told in _changes(before, after))


def _changes(before: HostView, after: HostView) -> Iterator[tuple[Level, str]]:
    """What has changed on a host that answers."""
    assert before.state and after.state
    told = []
    for role, new in after.state.drawing.items():
        old, name = before.state.drawing.get(role), APPLICATIONS[role].NAME
        if old and new.release and old.release != new.release:
            yield "good", f"{name}'s release is now {new.release}"
        if old and old.answers != new.answers:
            yield ("good", f"{name} answers") if new.answers else ("warning", f"{name} does not answer ({new.unit})")
        if new.release:
            told.append(silence(role, new))
    for problem in after.problems:
        if problem not in before.problems and problem not in told:
            yield after.level, problem
    known = {run.name: run.state for run in before.runs}
    for run in after.runs:
        was = known.get(run.name)
        if was is None:
            yield "good", f"run {run.name}: {run.state}"
        elif was != run.state:
            why = f" ({run.reason})" if run.reason else ""
            yield RUNS.get(run.state, "good"), f"run {run.name}: {was}, now {run.state}{why}"
