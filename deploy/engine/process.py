"""One pyinfra run in its own process: request on standard input, events on standard output.

pyinfra needs gevent's monkey patching before any other import, which breaks torch's data loaders and slows other
libraries. So no other module imports this one; `deploy.engine.client` starts it as a child process.
"""

from gevent import monkey

monkey.patch_all()

import contextlib  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable, Collection, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

os.environ["PYINFRA_PROGRESS"] = "off"

import gevent  # noqa: E402
import pyinfra  # noqa: E402
from paramiko import SSHException  # noqa: E402
from pyinfra.api.exceptions import PyinfraError  # noqa: E402
from pyinfra.api.host import Host  # noqa: E402
from pyinfra.api.operation import OperationMeta  # noqa: E402

from deploy.connection import hostlock, refusals  # noqa: E402
from deploy.connection.ssh import HostError  # noqa: E402
from deploy.engine.confirmation import ArmError, Guard  # noqa: E402
from deploy.engine.connector import HostConnector  # noqa: E402
from deploy.engine.events import (  # noqa: E402
    LOCK,
    Finished,
    HostResult,
    Log,
    Outcome,
    Phase,
    Planned,
    Request,
    Started,
    Status,
)
from deploy.engine.host_lock import hold, hold_again  # noqa: E402
from deploy.engine.output import LogToEvents, emit, host_name  # noqa: E402
from deploy.engine.pyinfra_session import Session  # noqa: E402
from deploy.engine.questions import Memory, memory_folder  # noqa: E402
from deploy.engine.roles import apply_roles, build_trainer_of  # noqa: E402
from inventory.errors import SdfleetError  # noqa: E402
from inventory.hosts import pyinfra_hosts  # noqa: E402
from inventory.load import load  # noqa: E402
from inventory.model import Fleet  # noqa: E402
from roles.onhost.journal import reason  # noqa: E402
from roles.operations.release import limit_switches  # noqa: E402
from roles.settings import SettingError  # noqa: E402


class _Run:
    """The state of one run over the chosen hosts."""

    def __init__(self, request: Request, declare: Callable[[Collection[str]], None] = apply_roles) -> None:
        """`declare` declares the operations of pyinfra's current host, for the given roles."""
        fleet = load(Path(request.fleet))
        self.request, self.declare = request, declare
        if request.trainer_of:
            self.declare = lambda _: build_trainer_of(Path(request.trainer_of))
        self.budget = fleet.table.failure_budget if request.failures is None else request.failures
        limit_switches(fleet.table.rollout.away(len(fleet.hosts)))
        self.failed = 0
        self.guard = Guard(request, fleet.table.rollout.confirm_seconds)
        shell = " ".join([*hostlock.STEP, "sh"]) if request.apply else "sh"
        self.session = Session(self._entries(fleet), request.diff, shell)

    def _entries(self, fleet: Fleet) -> list[tuple[str, dict[str, Any]]]:
        """Name and data of each host, for pyinfra."""
        request, folder = self.request, memory_folder()
        scope = (str(fleet.file), "an earlier trainer" if request.trainer_of else "", *request.roles)
        entries = pyinfra_hosts(fleet, request.hosts, request.askpass)
        for _, data in entries:
            settings = data["settings"]
            data["keys"] = request.keys
            data["files_needed"] = request.files_needed
            data["memory"] = Memory(folder, settings.name, str(settings.connection), *scope)
        return entries

    def over(self) -> bool:
        return self.failed > self.budget

    def fail(
        self, host: Host, message: str, began: float, status: Status = "failed", changed: int = 0, unchanged: int = 0
    ) -> None:
        self.failed += 1
        connector = host.connector
        if status == "failed" and isinstance(connector, HostConnector) and connector.lost:
            # What an operation then says of itself (mostly nothing, or half a line) is not why it failed.
            status = "unreachable"
            message = str(refusals.unreachable(host.data.settings, f"the connection was lost ({message})"))
        self.session.leave_out(host)
        emit(self.result(host, status, began, changed, unchanged, message))

    def all_hosts(self) -> int:
        """Run all hosts. Returns how many failed."""
        self.session.run(self.connect, self.prepare, self.finish, self.request.apply)
        return self.failed

    def connect(self, host: Host) -> None:
        began = time.monotonic()
        emit(Phase(host=host_name(host), phase="connecting"))
        if (why := self.session.connect(host)) is not None:
            lost = str(refusals.unreachable(host.data.settings, "the connection was closed"))
            self.fail(host, why or lost, began, "unreachable")
            return
        connection = host.data.settings.connection
        if connection.sudo and connection.sudo_password and not host.data.askpass:
            self.fail(host, refusals.wrong_password(host.data.settings), began)
            return
        with self.current(host, began):
            if self.request.apply and not self.request.locked and (why := self.hold(host)):
                self.fail(host, why, began)
                return
            emit(Phase(host=host_name(host), phase="reading"))

    def hold(self, host: Host) -> str | None:
        """Take the host's lock. Returns why not, or None."""
        return hold(host, "apply", self.guard.change.token, self.waits(host))

    @staticmethod
    def waits(host: Host) -> Callable[[str], None]:
        """A function that reports what `host` waits for."""

        def tell(what: str) -> None:
            emit(Log(host=host_name(host), level=logging.INFO, text=what))
            emit(Phase(host=host_name(host), phase=LOCK))

        return tell

    def prepare(self, host: Host) -> None:
        with self.current(host, time.monotonic()):
            self.declare(self.request.roles)

    @contextlib.contextmanager
    def current(self, host: Host, began: float) -> Iterator[None]:
        """Make `host` pyinfra's current host; an exception within fails it."""
        with self.session.current(host):
            try:
                yield
            except Exception as error:
                self.fail(host, _reason(error, host), began, _status(error))

    def finish(self, host: Host) -> None:
        """Apply the prepared operations of one host, or only list them."""
        began = time.monotonic()
        operations = self.session.operations(host)
        if self.request.apply:
            emit(Phase(host=host_name(host), phase="applying", operations=len(operations)))
            self.execute(host, operations)
            return
        changes = [self.session.meta(host, op).will_change for op in operations]
        for op, change in zip(operations, changes, strict=True):
            emit(Planned(host=host_name(host), operation=self.session.label(host, op), change=change))
        emit(self.result(host, "ok", began, sum(changes), changes.count(False)))

    def execute(self, host: Host, operations: list[str]) -> None:
        began = time.monotonic()
        done: dict[Outcome, int] = dict.fromkeys(("changed", "unchanged"), 0)
        self.guard.begin(host)
        status, why = self.execute_all(host, operations, done)
        # Whatever became of it: what is confirmed is that the host can still be reached.
        with self.session.current(host):
            unconfirmed = self.guard.after(host)
        if unconfirmed:
            status, why = "failed", f"{why}; {unconfirmed}" if why else unconfirmed
        changed, unchanged = done["changed"], done["unchanged"]
        if status == "failed":
            self.fail(host, why, began, changed=changed, unchanged=unchanged)
        else:
            emit(self.result(host, status, began, changed, unchanged))

    def execute_all(self, host: Host, operations: list[str], done: dict[Outcome, int]) -> tuple[Status, str]:
        """Run operations until one fails. Returns how that ended, and why it failed; counts in `done`."""
        for op in operations:
            if self.over():
                return "stopped", ""
            label = self.session.label(host, op)
            try:
                with self.session.current(host):
                    if self.session.meta(host, op).will_change:
                        self.guard.before(host)
                result, why = self.execute_one(host, op)
                lost_lock = self.hold_again(host)
            except (ArmError, HostError, OSError, EOFError, SSHException, ValueError) as error:
                return "failed", f"{label}: {error}"
            if result == "failed" or lost_lock:
                return "failed", f"{label}: {why or lost_lock}"
            done[result] += 1
        return "ok", ""

    def hold_again(self, host: Host) -> str | None:
        """Take the host's lock again if an operation has rebooted it. Returns why to stop, or None."""
        change = self.guard.change
        return hold_again(host, change.verb, change.token, self.guard.waits(host), self.waits(host))

    def execute_one(self, host: Host, op: str) -> tuple[Outcome, str]:
        """Run one operation. Returns how it went, and the reason if it failed."""
        began, label = time.monotonic(), self.session.label(host, op)
        emit(Started(host=host_name(host), operation=label))
        error = ""
        try:
            succeeded = self.session.execute(host, op)
        except Exception as caught:
            succeeded, error = False, _reason(caught, host)
        meta = self.session.meta(host, op)
        result: Outcome = "failed" if not succeeded else "changed" if meta.did_change() else "unchanged"
        emit(Finished(host=host_name(host), operation=label, result=result, seconds=time.monotonic() - began))
        return result, "" if succeeded else error or _last_words(meta)

    @staticmethod
    def result(
        host: Host, status: Status, began: float, changed: int = 0, unchanged: int = 0, error: str = ""
    ) -> HostResult:
        return HostResult(
            host=host_name(host),
            status=status,
            changed=changed,
            unchanged=unchanged,
            seconds=time.monotonic() - began,
            round_trips=host.connector.round_trips if isinstance(host.connector, HostConnector) else 0,
            error=error,
        )


def _status(error: Exception) -> Status:
    return "unreachable" if isinstance(error, HostError) and error.unreachable else "failed"


def _reason(error: Exception, host: Host) -> str:
    """The message for a person; the traceback of an unexpected error goes to the log."""
    if isinstance(error, SettingError):
        return f"{host.data.settings.place(error.key)}: {error.says}"
    if not isinstance(error, SdfleetError | PyinfraError):
        emit(Log(host="", level=logging.DEBUG, text=traceback.format_exc()))
        return f"{type(error).__name__}: {error}"
    return str(error) or type(error).__name__


def _last_words(meta: OperationMeta) -> str:
    lines = [line for line in (meta.stderr_lines or meta.stdout_lines) if line.strip()]
    return reason(lines) if lines else "the command failed without output"


def end_with_the_controller() -> None:
    """Exit when the parent process is gone: it may hold the hosts' locks."""
    sys.stdin.read()
    os._exit(1)


def main(declare: Callable[[Collection[str]], None] = apply_roles) -> None:
    """Serve one request; `declare` declares the operations of a host."""
    request = Request.model_validate_json(sys.stdin.readline())
    gevent.get_hub().threadpool.spawn(end_with_the_controller)
    logger = logging.getLogger("pyinfra")
    logger.addHandler(LogToEvents())
    logger.setLevel(logging.INFO)
    # With False, operations are ordered by an index per host, which collides between hosts that branch differently.
    pyinfra.is_cli = True
    sys.exit(1 if _Run(request, declare).all_hosts() else 0)


if __name__ == "__main__":
    main()
