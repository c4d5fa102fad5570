"""The gate `training`: the old trainer and the new one do the same twenty steps, in turns."""

import contextlib
from typing import Any

from deploy.connection.ssh import HostError, Remote
from deploy.console import out, styled
from deploy.onhost import trainer_trial
from deploy.rollout import cost
from deploy.rollout.cost import Figures
from deploy.rollout.gates import Failure
from deploy.runs.requirements import guests
from inventory.rollout import Rollout
from roles.accounts import TRAINER
from roles.facts.seen import as_user
from roles.trainer.rendering import COMPILED, as_a_run, run_service, turns

TRAINING = "training"
ORDER = ("old", "new", "new", "old")
"""Who does the steps, one after the other: what slows a host down for a while slows both down."""
TRIAL_SECONDS = 600
"""How long all of them may take; further ones are not begun then, and the one at work may take longer."""
SLACK: Figures = {"seconds": 0.01, "bytes": 16e6}
"""What a step may take more in any case."""
STEP = "a training step"

Found = dict[str, Any]
"""The answer of deploy/onhost/trainer_trial.py."""


def compare(remote: Remote, old: str, settings: Rollout) -> tuple[bool, Failure | None]:
    """Whether the trainers of a host were compared, and the gate that the new one did not pass.

    Where they could not be, the reason is told.

    + old: the release before the update
    """
    found = _look(remote, old)
    failure = judge(remote.name, found, settings)
    for _ in range(cost.TURNS - 1):
        # Somebody's picture may have taken the card's memory, or its time; losses are not changed by that.
        if failure is None or failure.said == _other_loss(found):
            break
        out.print(styled("[bold]{}[/] {}; measuring again", remote.name, failure.said))
        again = _look(remote, old)
        runs = {name: [*runs, *again["runs"].get(name, [])] for name, runs in found["runs"].items()}
        found = {**found, "runs": runs, "failed": {**found["failed"], **again["failed"]}}
        failure = judge(remote.name, found, settings)
    _note(remote, found, {"old": old, "new": found["new"]})
    compared = bool(figures(found, "old") and figures(found, "new"))
    if not compared and not failure and (why := _unmeasured(found)):
        out.print(styled("[yellow]{}[/] what {} costs was not compared: {}", remote.name, STEP, why))
    return compared, failure


def _look(remote: Remote, old: str) -> Found:
    """What was measured; a fault of measuring itself is no fault of a trainer."""
    try:
        return _ask(remote, old)
    except HostError as error:
        return {**trainer_trial.NOTHING, "new": "", "unmeasured": error.reason}


def _unmeasured(found: Found) -> str:
    """Why there is nothing to compare; empty if the trainer did not change."""
    failed: dict[str, str] = found["failed"]
    return found["unmeasured"] or (failed and f"the old trainer does not do it: {failed.get('old')}") or ""


def _ask(remote: Remote, old: str) -> Found:
    host = remote.host
    its = run_service(host.trainer, host.paths)
    found: Found = remote.call(
        trainer_trial,
        timeout=4 * TRIAL_SECONDS + 240,
        app=str(host.paths.app("trainer")),
        envs=str(host.paths.envs),
        old=old,
        python=[*as_user(TRAINER).split(), "python3", "-I"],
        limits={"nice": its.nice, "oom_score": its.oom_score, "umask": its.umask},
        scope=as_a_run(host.trainer, host.paths),
        order=ORDER,
        seconds=TRIAL_SECONDS,
        locks=str(turns(host.paths)),
        allowed=host.trainer.gpus,
        guests=guests(host),
        compiled=COMPILED,
    )
    return found


def judge(host: str, found: Found, settings: Rollout) -> Failure | None:
    """The gate that the new trainer did not pass, if any; what the old one can't do either is no fault of its own.

    A trainer that has done the steps in one of its turns can do them.
    """
    failed = {name: why for name, why in found["failed"].items() if not found["runs"].get(name or "new")}
    if why := failed.get("") or ("old" not in failed and failed.get("new")):
        return Failure(host, TRAINING, f"the new trainer does not do {STEP.removeprefix('a ')}s of a small run: {why}")
    if settings.same_loss and found["same_environment"] and (said := _other_loss(found)):
        return Failure(host, TRAINING, said)
    if said := _dear(found, settings):
        return Failure(host, TRAINING, said)
    return None


def _dear(found: Found, settings: Rollout) -> str:
    """What a step costs too much; empty if nothing."""
    return cost.excess(STEP, figures(found, "old"), figures(found, "new"), settings, SLACK)


def _other_loss(found: Found) -> str:
    """Where the losses differ, if each trainer's are the same in all its turns, of which it had several; else empty."""
    old, new = ([run["losses"] for run in found["runs"].get(name, ())] for name in ("old", "new"))
    if min(len(old), len(new)) < 2 or any(its != its[:1] * len(its) for its in (old, new)) or new[0] == old[0]:
        return ""
    step, (before, now) = next(
        (n, pair) for n, pair in enumerate(zip(old[0], new[0], strict=True), 1) if len({*pair}) > 1
    )
    return (
        f"with the same environment the new trainer has other losses: {now} in step {step} of a small run, with the "
        f"old release {before}; if CHANGELOG says that numbers change: fleet.rollout.same_loss = false"
    )


def figures(found: Found, name: str) -> Figures:
    """The least of what a step took in a trainer's turns; empty if it did none."""
    runs = [{key: value for key, value in run.items() if key != "losses"} for run in found["runs"].get(name, ())]
    known = [key for key in (runs[0] if runs else ()) if all(key in run for run in runs)]  # a card may have gone
    return {key: min(run[key] for run in runs) for key in known}


def _note(remote: Remote, found: Found, releases: dict[str, str]) -> None:
    for name, release in releases.items():
        if its := figures(found, name):
            last = float(found["runs"][name][-1]["losses"][-1])
            with contextlib.suppress(HostError):  # a history without figures is no reason to go back
                cost.note(remote, "trainer", {**its, "loss": last}, release)
