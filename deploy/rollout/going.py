"""One rollout over a fleet: wave by wave, each judged before the next, each taken back if it is not good."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from deploy import applying, keys
from deploy.console import RunView, err, out, styled, waiting
from deploy.events import HostResult, Planned, Request
from deploy.rollout import gates, marks, returning
from deploy.rollout.gates import Failure, Seen
from deploy.rollout.marks import Mark
from deploy.rollout.waves import all_waves, next_wave
from deploy.ssh import HostError, Remote, each
from inventory.errors import SdfleetError
from inventory.model import ROLES, Fleet

T = TypeVar("T")
LOOK_AGAIN_SECONDS = 5
"""How often a host that trains is asked whether it still does."""


@dataclass
class Rollout:
    """A rollout in progress."""

    fleet: Fleet
    id: str
    remotes: Mapping[str, Remote]
    force: bool = False
    verbose: bool = False
    may_go_on: Callable[[Sequence[str]], bool] = lambda names: True
    """Asked before each wave but the first, with its hosts' names."""
    marks: dict[str, Mark | None] = field(default_factory=dict)
    touched: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Hosts that were not touched because they train, and what."""
    failures: list[Failure] = field(default_factory=list)
    paused: bool = False

    @property
    def proven(self) -> bool:
        """Whether some host has passed all gates of this very rollout, now or before it was interrupted."""
        return bool(self.passed) or any(mark and self._is(mark, "passed") for mark in self.marks.values())

    def _is(self, mark: Mark, state: str) -> bool:
        return mark.rollout == self.id and mark.state == state

    def run(self) -> None:
        """Update every host that differs from the fleet's file; stop at the first wave with a failure.

        Raises SdfleetError if a host cannot be reached or read before anything was changed.
        """
        self.bring_up_cache()
        with waiting("the plan of every host"):
            changes = self.plan()
            self.marks = _all_answers(each(self.remotes, marks.read))
        begun = [name for name, mark in self.marks.items() if mark and self._is(mark, "begun")]
        todo = [self.fleet.hosts[name] for name in self.remotes if changes[name] or name in begun]
        _tell_plan(changes, begun)
        if not todo:
            out.print("Every host is as the fleet's file says; nothing to do.")
            return
        settings = self.fleet.table.rollout
        waves = all_waves(todo, settings, len(self.fleet.hosts), self.proven)
        out.print(f"{len(waves)} wave(s): " + ", then ".join(" ".join(wave) for wave in waves))
        first = True
        while wave := next_wave(todo, settings, len(self.fleet.hosts), self.proven):
            todo = [host for host in todo if host not in wave]
            names = [host.name for host in wave]
            if not first and not self.may_go_on(names):
                self.paused = True
                return
            first = False
            stopped = self.drain(names)
            names = [name for name in names if name not in self.left_out]
            try:
                if names:
                    self.wave(names)
            finally:
                self.resume_training(stopped)
            if self.failures:
                return

    def bring_up_cache(self) -> None:
        """Bring up the fleet's cache before any host chooses its mirrors; no WebUI is touched by that."""
        view = applying.cache_first(self.fleet, self._request(tuple(self.remotes), apply=True), self.verbose)
        if view is not None and view.failed:
            raise SdfleetError("No WebUI was touched. Mend the cache, or leave its host out with --limit.")

    def plan(self) -> dict[str, list[str]]:
        """Operations that would change each host."""
        out.print(f"Comparing {len(self.remotes)} host(s) with the fleet's file")
        request = self._request(tuple(self.remotes), apply=False)
        changes: dict[str, list[str]] = {name: [] for name in self.remotes}
        problems: list[str] = []
        for event in applying.engine_events(self.fleet, request):
            if isinstance(event, Planned) and event.change:
                changes[event.host].append(event.operation)
            elif isinstance(event, HostResult) and event.status != "ok":
                problems.append(f"{event.host}: {event.error}")
        if problems:
            raise SdfleetError(
                "\n".join([*problems, "Nothing was changed. Mend this, or leave hosts out with --limit."])
            )
        return changes

    def _request(self, hosts: tuple[str, ...], apply: bool) -> Request:
        opened = keys.opened(self.fleet.hosts[name].connection for name in hosts)
        return Request(
            fleet=str(self.fleet.file), hosts=hosts, roles=ROLES, apply=apply, locked=True, failures=0, keys=opened
        )

    def drain(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Wait until no host of a wave trains; those that still do are left out, or stopped if that is forced.

        Returns the training units that were stopped, by host.
        """
        limit = self.fleet.table.rollout.drain_seconds
        deadline = time.monotonic() + (0 if self.force else limit)
        told = False
        with waiting("training runs to end"):
            while busy := {name: runs for name in names if (runs := _training(self.remotes[name]))}:
                if time.monotonic() >= deadline:
                    break
                if not told:
                    told = True
                    out.print(f"{_list(busy)}; waiting for up to {limit} s")
                time.sleep(LOOK_AGAIN_SECONDS)
        if not self.force:
            self.left_out |= {name: ", ".join(runs) for name, runs in busy.items()}
            return {}
        for name, runs in busy.items():
            out.print(f"{name}: stopping {', '.join(runs)}, which keep their checkpoints and go on afterwards")
            with waiting(f"{name} to write its checkpoints"):
                self.remotes[name].run(["systemctl", "stop", *runs], timeout=700)
        return busy

    def resume_training(self, stopped: Mapping[str, Sequence[str]]) -> None:
        """Start again what was stopped for a wave."""
        for name, runs in stopped.items():
            self.remotes[name].run(["systemctl", "start", "--no-block", *runs])

    def wave(self, names: Sequence[str]) -> None:
        """Update some hosts and judge them; all of them go back if one does not pass."""
        began = time.monotonic()
        self.touched += names
        remotes = {name: self.remotes[name] for name in names}
        out.print(f"Wave {' '.join(names)}: drawing a picture with the current release first", soft_wrap=True)
        with waiting(f"a picture of before from {' '.join(names)}"):
            before = _all_answers(each(remotes, self._before))
        bad = self.applied(names) or self.judged(remotes, before)
        if bad:
            self.failures = sorted(bad, key=lambda failure: failure.follows)
            self.take_back(remotes, before)
            return
        for name, remote in remotes.items():
            marks.write(remote, self.id, "passed", before[name])
        self.passed += names
        took = f"{time.monotonic() - began:.1f} s for the wave"
        out.print(styled("[green]passed[/] {}: all gates, {}", " ".join(names), took))

    def applied(self, names: Sequence[str]) -> list[Failure]:
        """Bring hosts to what the fleet's file says; those where that failed."""
        broke_off = "it was stopped because another host failed"
        with RunView(tuple(names), True, self.verbose) as view:
            try:
                for event in applying.engine_events(self.fleet, self._request(tuple(names), apply=True)):
                    view.show(event)
            except SdfleetError as error:
                broke_off = str(error)
        ended = {name: view.results.get(name) for name in names}
        return [
            Failure(name, "apply", (result.error if result else "") or broke_off, follows=not (result and result.error))
            for name, result in ended.items()
            if result is None or result.status != "ok"
        ]

    def _before(self, remote: Remote) -> Seen:
        """How a host is before it is touched; as it was noted if this rollout has been there already."""
        mark = self.marks.get(remote.name)
        if mark and self._is(mark, "begun"):
            return mark.before
        seen = gates.look(remote, self.fleet.table.rollout, 0)
        seen["history"] = returning.history(remote)
        marks.write(remote, self.id, "begun", seen)
        return seen

    def judged(self, remotes: Mapping[str, Remote], before: Mapping[str, Seen]) -> list[Failure]:
        """The gates' verdicts."""
        settings = self.fleet.table.rollout
        playing = {name: remote for name, remote in remotes.items() if remote.host.has("webui")}
        out.print(
            f"Watching {' '.join(playing)} for {settings.stable_seconds} s, then drawing the picture again",
            soft_wrap=True,
        )
        failures = []
        with waiting(f"{' '.join(playing)} to stay up and to draw"):
            seen = each(playing, lambda remote: gates.look(remote, settings, settings.stable_seconds))
        for name, after in seen.items():
            if isinstance(after, HostError):
                failures.append(Failure(name, "health", str(after)))
            elif failure := gates.judge(name, before[name], after, settings.tolerance):
                failures.append(failure)
        return failures

    def take_back(self, remotes: Mapping[str, Remote], before: Mapping[str, Seen]) -> None:
        """Put every host of a wave on what served before, where it serves something else now."""
        reasons = {failure.host: f"gate {failure.gate}: {failure.said}" for failure in self.failures}

        def back(remote: Remote) -> list[str]:
            # What a service that failed its gate still draws is worth nothing; its neighbours finish their pictures.
            done = returning.go_back(remote, before[remote.name], now=remote.name in reasons)
            try:
                marks.write(remote, self.id, "back", before[remote.name], reasons.get(remote.name, "with its wave"))
            except HostError as error:  # a full disk: it serves what it served all the same
                done.append(f"this could not be noted: {error}")
            return done

        out.print(f"Going back on {' '.join(remotes)}")
        with waiting(f"{' '.join(remotes)} to serve as before"):
            answers = each(remotes, back)
        for name, said in answers.items():
            if isinstance(said, HostError):
                err.print(styled("[bold red]{}[/] could not be taken back: {}", name, said), soft_wrap=True)
            for line in said if isinstance(said, list) else ():
                out.print(styled("[bold]{}[/] {}", name, line), soft_wrap=True)


def _training(remote: Remote) -> list[str]:
    command = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating", "lora-train@*"]
    return [line.split()[0] for line in remote.run(command).out.splitlines() if line.strip()]


def _list(busy: Mapping[str, Iterable[str]]) -> str:
    return "; ".join(f"{name} runs {', '.join(runs)}" for name, runs in busy.items())


def _all_answers(answers: Mapping[str, T | HostError]) -> dict[str, T]:
    """What every host answered; the first error is raised, since nothing may be changed half blind."""
    good: dict[str, T] = {}
    for name, answer in answers.items():
        if isinstance(answer, HostError):
            raise answer
        good[name] = answer
    return good


def _tell_plan(changes: Mapping[str, Sequence[str]], begun: Sequence[str]) -> None:
    """Print what would change, hosts with the same changes together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for name, operations in changes.items():
        together.setdefault(tuple(operations), []).append(name)
    for operations, names in together.items():
        what = "; ".join(operations) if operations else "nothing to change"
        out.print(styled("[bold]{}[/]: {}", " ".join(names), what), soft_wrap=True)
    if begun:
        out.print(f"An interrupted rollout goes on: {' '.join(begun)} was begun and not judged.")
