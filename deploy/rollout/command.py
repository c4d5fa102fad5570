"""`sdfleet update`: renew the lock, then update the fleet in waves."""

import hashlib
import shlex
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from deploy import confirmation
from deploy.connection import hostlock
from deploy.connection.several import connect
from deploy.console import err, out, styled
from deploy.engine.client import select_hosts
from deploy.interrupts import INTERRUPTED
from deploy.locks import lock
from deploy.locks.resolver import Resolver
from deploy.names import DEFAULT_FILE
from deploy.rollout.rollout import Rollout
from inventory import lock as locks
from inventory.errors import ConfigError, Problem, SdfleetError
from inventory.files import replace_file
from inventory.load import load
from inventory.model import ROLES, Fleet


@dataclass(frozen=True)
class Asked:
    """What an update was asked for."""

    names: Sequence[str]
    fleet: Path
    limit: Sequence[str]
    locked: bool
    pause: bool
    force: bool
    verbose: bool

    def command(self) -> str:
        """The command that asks for it."""
        switches = {"--pause": self.pause, "--force": self.force, "--verbose": self.verbose}
        return shlex.join(
            [
                *("sdfleet", "update"),
                *(("--locked",) if self.locked else self.names),
                *(word for name in self.limit for word in ("--limit", name)),
                *(word for word, used in switches.items() if used),
                *(() if self.fleet == DEFAULT_FILE else ("--fleet", str(self.fleet))),
            ]
        )

    def resume(self) -> str:
        """The command that resumes it, once the lock has moved."""
        return replace(self, locked=True).command()

    def without(self, refused: Collection[str], hosts: Sequence[str]) -> str:
        """The command for those of `hosts` that are not refused; empty if there are none."""
        others = [name for name in hosts if name not in refused]
        return replace(self, limit=others).command() if others else ""


def update(
    names: list[str] | None, fleet: Path, limit: list[str] | None, locked: bool, pause: bool, force: bool, verbose: bool
) -> None:
    asked = Asked(names or (), fleet, limit or (), locked, pause, force, verbose)
    loaded = load(fleet)
    hosts = select_hosts(loaded, limit or ())
    _refuse_no_way_back(loaded, hosts)
    moved = None if locked else _move_lock(loaded, names or ())
    loaded = load(fleet)
    lock.require(loaded, hosts, ROLES)
    touched: list[str] = []
    change = confirmation.new_change()
    try:
        with (
            connect(loaded.hosts[name] for name in hosts) as remotes,
            hostlock.locked(remotes, "update", change=change) as refused,
        ):
            hostlock.refuse(refused, asked.without(refused, hosts))
            may_continue = _asks if pause else lambda names: True
            rollout = Rollout(loaded, _id(loaded), remotes, force, verbose, may_continue, change=change)
            touched = rollout.touched
            rollout.run()
    except KeyboardInterrupt:
        out.print(f"\nInterrupted. Continue with: {asked.resume()}")
        raise typer.Exit(INTERRUPTED) from None
    except SdfleetError:
        # Otherwise the next apply would bring to all hosts at once what no canary has tried.
        if moved and not touched:
            moved.restore()
        raise
    raise typer.Exit(_sum_up(rollout, moved, asked))


@dataclass(frozen=True)
class Moved:
    """The lock before this update."""

    file: Path
    before: bytes | None

    def restore(self) -> None:
        """Restore the old lock; keep the refused one beside it."""
        replace_file(self.file.with_name(f"{self.file.name}.refused"), self.file.read_bytes())
        if self.before is None:
            self.file.unlink()
        else:
            replace_file(self.file, self.before)
        out.print(f"Restored {self.file.name}; the refused one is {self.file.name}.refused")


def _move_lock(fleet: Fleet, names: Sequence[str]) -> Moved | None:
    """Look up `names` (all if empty) again and write the lock; None if nothing moved."""
    known = {*ROLES, *(model.name for host in fleet.hosts.values() for model in host.models)}
    if unknown := [name for name in names if name not in known]:
        message = f"nothing is named {unknown[0]!r}; known are {', '.join(sorted(known))}"
        raise ConfigError("update", [Problem("", message)])
    old = locks.read(fleet.file)
    new = Resolver(fleet, old, lambda name: not names or name in names, out.print).resolve()
    for line in lock.differences(old, new):
        out.print(line)
    if new == old:
        return None
    file = locks.lock_file(fleet.file)
    moved = Moved(file, file.read_bytes() if file.exists() else None)
    locks.write(fleet.file, new)
    return moved


def _refuse_no_way_back(fleet: Fleet, hosts: Sequence[str]) -> None:
    """Raise ConfigError if a host keeps no earlier release to roll back to."""
    stuck = [
        host.place(f"{role}.keep_releases")
        for host in (fleet.hosts[name] for name in hosts)
        for role, its in host.drawing.items()
        if its.keep_releases < 2
    ]
    if stuck:
        message = "is 1, so there would be no release to roll back to; an update needs at least 2"
        raise ConfigError(str(fleet.file), [Problem(key, message) for key in dict.fromkeys(stuck)])


def _id(fleet: Fleet) -> str:
    """Id of what is rolled out; the same for everybody who has the same files, so that anybody can resume."""
    digest = hashlib.sha256(fleet.file.read_bytes())
    with suppress(FileNotFoundError):
        digest.update(locks.lock_file(fleet.file).read_bytes())
    return digest.hexdigest()[:12]


def _asks(names: Sequence[str]) -> bool:
    """Ask whether to begin the next wave; without a terminal the answer is no."""
    if not sys.stdin.isatty():
        return False
    return typer.confirm(f"Next wave: {' '.join(names)}. Continue?", default=True)


def _sum_up(rollout: Rollout, moved: Moved | None, asked: Asked) -> int:
    """Print the result and the next command. Returns the exit code."""
    for failure in rollout.failures:
        err.print(styled("[bold red]{}[/] gate {}: {}", failure.host, failure.gate, failure.said))
        for line in failure.log:
            err.print(styled("  journal: {}", line))
    for name, runs in rollout.left_out.items():
        said = styled(
            "[yellow]{}[/] was skipped because it is training: {}. Update it later, or use --force.", name, runs
        )
        err.print(said)
    if rollout.failures:
        untouched = [name for name in rollout.remotes if name not in rollout.touched]
        out.print(f"The rollout stopped: {len(rollout.passed)} host(s) passed, {len(untouched)} were not touched.")
        if moved and not rollout.proven:
            moved.restore()
        return 1
    if rollout.paused:
        out.print(f"Paused. Continue with: {asked.resume()}")
    elif rollout.passed:
        out.print(f"Updated {len(rollout.passed)} host(s). Next: sdfleet verify")
    return 1 if rollout.left_out or rollout.not_resumed else 0
