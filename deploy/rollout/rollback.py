"""Roll hosts back to what served before a rollout."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy import releases, units
from deploy.connection.several import each
from deploy.connection.ssh import HostError, Remote
from deploy.console import err, out, styled, waiting
from deploy.onhost import running
from deploy.rollout import state
from deploy.rollout.gates import Failure, Seen
from roles.onhost.release_history import COPY


@dataclass(frozen=True)
class Outcome:
    """What became of one application of a host that was to be rolled back."""

    app: str
    back: bool
    """Whether it is on its old release and, if that has a service, runs."""
    said: str


def roll_back_hosts(
    rollout: str, remotes: Mapping[str, Remote], before: Mapping[str, Seen], failures: Sequence[Failure]
) -> list[str]:
    """Roll hosts back, each as far as possible, record in their marks what came of it, and print it.

    Returns the hosts of which everything is back.

    + rollout: its id
    + before: by host, the state recorded before it was changed
    + failures: gates that were not passed; generations of these hosts are cut off, the other hosts finish theirs
    """
    reasons = {failure.host: f"gate {failure.gate}: {failure.said}" for failure in failures}

    def back(remote: Remote) -> list[Outcome]:
        old = before[remote.name]
        done = roll_back(remote, old, now=remote.name in reasons)
        why = [reasons.get(remote.name, "with its wave"), *(each.said for each in done if not each.back)]
        ended: state.State = "back" if all(each.back for each in done) else "failed"
        try:
            state.write(remote, rollout, ended, old, "; ".join(why))
        except HostError as error:  # for example a full disk; the host is rolled back all the same
            done.append(Outcome("", True, f"the rollback could not be recorded: {error}"))
        return done

    out.print(f"Rolling back {' '.join(remotes)}")
    with waiting(f"the rollback of {' '.join(remotes)}"):
        answers = each(remotes, back)
    _tell(answers)
    return [
        name
        for name, done in answers.items()
        if not isinstance(done, HostError) and all(outcome.back for outcome in done)
    ]


def _tell(answers: Mapping[str, list[Outcome] | HostError]) -> None:
    """Print what became of each host; at the end what is back and what is not, unless all is back."""
    good, bad = [], []
    for name, done in answers.items():
        if isinstance(done, HostError):
            err.print(
                styled("[bold red]{}[/] could not be rolled back: {}", name, f"{done}; see: sdfleet doctor {name}")
            )
            bad.append(name)
            continue
        for outcome in done:
            if outcome.back:
                out.print(styled("[bold]{}[/] {}", name, outcome.said))
            else:
                err.print(styled("[bold red]{}[/] {}", name, outcome.said))
        left = [outcome.app for outcome in done if not outcome.back]
        apps = [outcome.app for outcome in done if outcome.back and outcome.app]
        good += [f"{name} ({', '.join(apps)})" if left else name] if apps or not left else []
        bad += [f"{name} ({', '.join(left)})"] if left else []
    if bad:
        out.print(f"Rolled back: {', '.join(good) or 'nothing'}. Not rolled back: {', '.join(bad)}.")


def roll_back(remote: Remote, before: Seen, now: bool) -> list[Outcome]:
    """Roll every application of a host back; one that fails does not keep the others.

    + before: the state recorded before the host was changed
    + now: whether to cut off running generations
    Raises HostError if the host cannot say which applications it has.
    """
    done: list[Outcome] = []
    texts = _histories(remote)
    for app in dict.fromkeys([*texts, *before["history"]]):
        old = before["history"].get(app) or {"release": before["releases"].get(app)}
        try:
            if entry := _serving(texts.get(app, [""])):
                done.append(_roll_back(remote, app, entry, old, now))
        except HostError as error:
            why = error.reason
        except (ValueError, LookupError, TypeError):
            state_of = "damaged" if app in texts else "gone"
            why = f"its history.json is {state_of}; to choose a release: sdfleet releases --limit {remote.name}"
        else:
            continue
        doctor = f"see: sdfleet doctor {remote.name}"
        done.append(Outcome(app, False, f"{app} could not be rolled back to {old['release']}: {why}; {doctor}"))
    return done


def _roll_back(remote: Remote, app: str, entry: Mapping[str, str], old: Mapping[str, str], now: bool) -> Outcome:
    if old["release"] is None:
        return Outcome(app, False, f"{app}: no earlier release to roll back to")
    if entry != old:
        return Outcome(app, True, f"{app} rolled back: {releases.roll_back(remote, app, old['release'], now)}")
    return _still(remote, app, entry["release"])


def _still(remote: Remote, app: str, release: str) -> Outcome:
    """The outcome for an application that is on its old release already: a failed switch went back, if it could."""
    service = app.replace("_", "-")
    if unit := units.SERVICES.get(service):
        seen = remote.call(running, unit=unit)
        if seen["state"] != "active":
            host = remote.name
            said = (
                f"{app} is on {release} again, but does not run ({seen['state']}): {seen['reason']}; "
                f"see: sdfleet logs {host} {service}, sdfleet doctor {host}"
            )
            return Outcome(app, False, said)
    return Outcome(app, True, f"{app} is still on {release}")


def history(remote: Remote) -> dict[str, dict[str, str]]:
    """By application, the release that serves now and the text of its unit. Raises HostError, ValueError."""
    found = {app: _serving(texts) for app, texts in _histories(remote).items()}
    return {app: entry for app, entry in found.items() if entry}


def _histories(remote: Remote) -> dict[str, list[str]]:
    """By application, the texts of its history.json and of the copy, as far as they are there."""
    # A power cut may leave a file of zeros.
    tell = 'printf "%s\\0" "$f"; tr -d "\\0" <"$f"; printf "\\0"'
    script = f'for f in "$1"/*/history.json "$1"/*/{COPY}; do [ ! -f "$f" ] || {{ {tell}; }}; done'
    answer = remote.run(["sh", "-c", script, "sdfleet", str(remote.host.paths.root / "apps")])
    fields = answer.out.split("\0")[:-1]
    found: dict[str, list[str]] = {}
    for place, text in zip(fields[::2], fields[1::2], strict=True):
        found.setdefault(place.split("/")[-2], []).append(text)
    return found


def _serving(texts: Sequence[str]) -> dict[str, str] | None:
    """Release and unit of the last entry of a history, the first of these texts that is whole.

    Raises ValueError, LookupError or TypeError if all are damaged.
    """
    text, *copies = texts
    try:
        served: list[dict[str, Any]] = json.loads(text)["served"]
        return {"release": served[-1]["release"], "text": served[-1]["text"]} if served else None
    except (ValueError, LookupError, TypeError):
        if not copies:
            raise
        return _serving(copies)
