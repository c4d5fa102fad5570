"""One rollout over a fleet: each wave is checked before the next one, and rolled back if a gate fails."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from deploy import confirmation
from deploy.connection import keys
from deploy.connection.manager import active_runs, change
from deploy.connection.several import each
from deploy.connection.ssh import HostError, Remote
from deploy.console import err, out, styled, waiting
from deploy.engine import client
from deploy.engine.events import Request
from deploy.engine.view import BROKE_OFF, EngineView
from deploy.onhost.run_states import run_of
from deploy.rollout import gates, rollback, state
from deploy.rollout.checks import Checks
from deploy.rollout.gates import Failure, Seen
from deploy.rollout.plan import planned_changes, tell_plan
from deploy.rollout.state import Mark
from deploy.rollout.waves import all_waves, next_wave
from inventory.errors import SdfleetError
from inventory.model import ROLES, Fleet, HostSettings

T = TypeVar("T")
LOOK_AGAIN_SECONDS = 5
"""How often to ask a host that trains whether it still does."""


@dataclass
class Rollout:
    fleet: Fleet
    id: str
    remotes: Mapping[str, Remote]
    force: bool = False
    verbose: bool = False
    may_continue: Callable[[Sequence[str]], bool] = lambda names: True
    """Called before each wave except the first, with the names of its hosts."""
    marks: dict[str, Mark | None] = field(default_factory=dict)
    touched: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Hosts that were skipped because they train -> the runs."""
    failures: list[Failure] = field(default_factory=list)
    not_resumed: list[str] = field(default_factory=list)
    """Hosts whose training was stopped for their wave and could not be started again."""
    paused: bool = False
    change: str = field(default_factory=confirmation.new_change)
    """Names what this rollout changes on the hosts until it is confirmed."""

    @cached_property
    def checks(self) -> Checks:
        """The gates, and what they have measured."""
        return Checks(self.fleet.table.rollout)

    @property
    def proven(self) -> bool:
        """Whether a host has passed all gates of this rollout, now or before an interruption."""
        marks = [mark for mark in self.marks.values() if mark and mark.rollout == self.id]
        return bool(self.passed) or any(mark.state == "passed" for mark in marks)

    def _unfinished(self, name: str) -> Mark | None:
        """The mark of a host that this rollout has begun to change, and neither passed nor rolled back."""
        mark = self.marks.get(name)
        return mark if mark and mark.rollout == self.id and mark.unfinished else None

    def run(self) -> None:
        """Update every host that differs from fleet.toml; stop at the first wave with a failure.

        Raises SdfleetError if a host cannot be reached or read before anything is changed.
        """
        self.bring_up_cache()
        with waiting("the plan of every host"):
            changes = planned_changes(self.fleet, self._request(tuple(self.remotes), apply=False))
            self.marks = _all_answers(each(self.remotes, state.read))
        begun = [name for name in self.marks if self._unfinished(name)]
        todo = [self.fleet.hosts[name] for name in self.remotes if changes[name] or name in begun]
        tell_plan(changes, begun)
        self.settle([name for name, remote in self.remotes.items() if remote.unconfirmed], todo)
        if not todo:
            out.print("Every host matches fleet.toml; nothing to do.")
            return
        settings = self.fleet.table.rollout
        waves = all_waves(todo, settings, len(self.fleet.hosts), self.proven)
        out.print(f"{len(waves)} wave(s): " + ", then ".join(" ".join(wave) for wave in waves))
        first = True
        while wave := next_wave(todo, settings, len(self.fleet.hosts), self.proven):
            todo = [host for host in todo if host not in wave]
            names = [host.name for host in wave]
            if not first and not self.may_continue(names):
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
        """Apply the fleet's cache before any host chooses its mirrors; this touches no WebUI."""
        view = client.cache_first(self.fleet, self._request(tuple(self.remotes), apply=True), self.verbose)
        if view is None:
            return
        caches = {name: remote for name, remote in self.remotes.items() if remote.host.has("cache")}
        unconfirmed = [f"{failure.host}: {failure.said}" for failure in self.confirmed(caches, self.change)]
        if view.failed or unconfirmed:
            cure = "No WebUI was touched. Fix the cache, or leave its host out with --limit."
            raise SdfleetError("\n".join([*unconfirmed, cure]))

    def _request(self, hosts: tuple[str, ...], apply: bool) -> Request:
        opened = keys.opened(self.fleet.hosts[name].connection for name in hosts)
        return Request(
            fleet=str(self.fleet.file),
            hosts=hosts,
            roles=ROLES,
            apply=apply,
            locked=True,
            change=self.change,
            failures=0,
            keys=opened,
        )

    def settle(self, waiting: Sequence[str], todo: Sequence[HostSettings]) -> None:
        """Confirm what an earlier run has left unconfirmed on hosts that this one does not change.

        Raises SdfleetError where that fails: such a host goes back, and is to be looked at first.
        """
        left = {name: self.remotes[name] for name in waiting if name not in [host.name for host in todo]}
        if failures := self.confirmed(left, ""):
            raise SdfleetError("\n".join(f"{each.host}: {each.said}" for each in failures))

    def confirmed(self, remotes: Mapping[str, Remote], token: str) -> list[Failure]:
        """Confirm what was changed on hosts, over new connections. Returns the failures.

        + token: names the change; empty for whatever waits
        """
        armed = self.fleet.table.rollout.confirm_seconds > 0
        failed = confirmation.unconfirmed(remotes, token, armed)
        return [Failure(name, "confirm", why) for name, why in failed.items()]

    def drain(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Wait until no host of a wave trains. Those that still do are left out, or stopped with `force`.

        Returns the stopped training units by host.
        """
        limit = self.fleet.table.rollout.drain_seconds
        deadline = time.monotonic() + (0 if self.force else limit)
        told = False
        with waiting("training runs to end"):
            while busy := {name: runs for name in names if (runs := active_runs(self.remotes[name]))}:
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
            out.print(f"{name}: stopping {', '.join(runs)}; they keep their checkpoints and resume afterwards")
        with waiting(f"checkpoints of {' '.join(busy)}"):
            stops = {name: self.remotes[name] for name in busy}
            answers = each(stops, lambda remote: change(remote, "stop", *busy[remote.name], timeout=700))
        if any(isinstance(answer, HostError) for answer in answers.values()):
            self.resume_training(busy)
        _all_answers(answers)
        return busy

    def resume_training(self, stopped: Mapping[str, Sequence[str]]) -> None:
        """Start the training units that were stopped for a wave; a host where that fails is named."""
        remotes = {name: self.remotes[name] for name in stopped}
        answers = each(remotes, lambda remote: change(remote, "start", *stopped[remote.name], wait=False))
        for name, answer in answers.items():
            if isinstance(answer, HostError):
                cure = " and ".join(f"sdfleet train resume {run_of(unit)}" for unit in stopped[name])
                err.print(styled("[bold red]{}[/] its training did not resume: {}; run: {}", name, answer, cure))
                self.not_resumed.append(name)

    def wave(self, names: Sequence[str]) -> None:
        """Update hosts and check them; roll all of them back if one does not pass."""
        began = time.monotonic()
        remotes = {name: self.remotes[name] for name in names}
        out.print(f"Wave {' '.join(names)}: generating a picture with the current release")
        with waiting(f"a picture from {' '.join(names)}"):
            before = _all_answers(each(remotes, self._before))
        self.touched += names
        bad = self.applied(names) or self.judged(remotes, before) or self.confirmed(remotes, self.change)
        if bad:
            self.failures = sorted(bad, key=lambda failure: failure.follows)
            self.take_back(remotes, before)
            return
        written = each(remotes, lambda remote: state.write(remote, self.id, "passed", before[remote.name]))
        self.passed += names
        for name, error in written.items():
            if isinstance(error, HostError):
                # Not worth a rollback: it serves, and another update checks it again.
                err.print(styled("[yellow]{}[/] passed, but that could not be recorded: {}", name, error))
        took = f"{time.monotonic() - began:.1f} s for the wave"
        out.print(styled("[green]passed[/] {}: all gates, {}", " ".join(names), took))

    def applied(self, names: Sequence[str]) -> list[Failure]:
        """Apply fleet.toml to hosts. Returns the failures."""
        broke_off = BROKE_OFF
        with EngineView(tuple(names), True, self.verbose) as view:
            try:
                for event in client.engine_events(self.fleet, self._request(tuple(names), apply=True)):
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
        """The state of a host before it is changed; read from its mark if this rollout had begun there."""
        if mark := self._unfinished(remote.name):
            return mark.before
        seen = gates.look(remote, self.fleet.table.rollout, 0, self.checks.unmeasured(remote.host))
        seen["history"] = rollback.history(remote)  # before the note, which puts a damaged one aside
        self.checks.note(remote, seen)
        state.write(remote, self.id, "begun", seen)
        return seen

    def judged(self, remotes: Mapping[str, Remote], before: Mapping[str, Seen]) -> list[Failure]:
        """Check hosts by the gates. Returns the failures."""
        settings = self.fleet.table.rollout
        if playing := [name for name, remote in remotes.items() if remote.host.drawing_ports]:
            seconds = settings.stable_seconds
            out.print(f"Watching {' '.join(playing)} for {seconds} s, then generating the picture again")
        with waiting(f"the gates of {' '.join(remotes)}"):
            found = each(remotes, lambda remote: self.checks.failure(remote, before[remote.name]))
        failures = []
        for name, failure in found.items():
            if isinstance(failure, HostError):
                failures.append(Failure(name, "health", str(failure)))
            elif failure:
                failures.append(failure)
        return failures

    def take_back(self, remotes: Mapping[str, Remote], before: Mapping[str, Seen]) -> None:
        """Roll back every host of a wave. One that could not be confirmed puts back what else was changed by itself."""
        back = rollback.roll_back_hosts(self.id, remotes, before, self.failures)
        dear = [failure.host for failure in self.failures if failure.gate == gates.COST and failure.host in back]
        said = each({name: remotes[name] for name in dear}, lambda remote: self.checks.old(remote, before[remote.name]))
        for name, sentence in said.items():
            if sentence and not isinstance(sentence, HostError):
                out.print(styled("[bold]{}[/] {}", name, sentence))
        alone = {failure.host for failure in self.failures if failure.gate == "confirm"}
        unsure = self.confirmed({name: remote for name, remote in remotes.items() if name not in alone}, self.change)
        for name in [*alone, *(failure.host for failure in unsure)]:
            seconds = self.fleet.table.rollout.confirm_seconds
            err.print(
                styled("[yellow]{}[/] puts back by itself what else was changed, {} s after this run", name, seconds)
            )


def _list(busy: Mapping[str, Iterable[str]]) -> str:
    return "; ".join(f"{name} runs {', '.join(runs)}" for name, runs in busy.items())


def _all_answers(answers: Mapping[str, T | HostError]) -> dict[str, T]:
    """The answers of all hosts. Raises the first error: nothing may be changed without knowing every host."""
    good: dict[str, T] = {}
    for name, answer in answers.items():
        if isinstance(answer, HostError):
            raise answer
        good[name] = answer
    return good
