"""One pyinfra run, in a process of its own: request on standard input, events on standard output.

pyinfra needs gevent's monkey patching before anything else is imported, and that breaks torch's data loaders
and slows others: so nothing else of sdfleet imports this module; `deploy.applying` starts it as a child.
Each host runs through its own operations without waiting for the others, so one slow or failing host holds
up nobody.
"""

from gevent import monkey

monkey.patch_all()

import contextlib  # noqa: E402
import functools  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable, Collection, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

os.environ["PYINFRA_PROGRESS"] = "off"

from deploy import pyinfra_patches  # noqa: E402  # before pyinfra imports paramiko

pyinfra_patches.apply()

import gevent  # noqa: E402
import pyinfra  # noqa: E402
from pyinfra.api.config import Config  # noqa: E402
from pyinfra.api.exceptions import PyinfraError  # noqa: E402
from pyinfra.api.host import Host  # noqa: E402
from pyinfra.api.inventory import Inventory  # noqa: E402
from pyinfra.api.operation import OperationMeta  # noqa: E402
from pyinfra.api.operations import run_host_op  # noqa: E402
from pyinfra.api.state import BaseStateCallback, State, StateStage  # noqa: E402
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state  # noqa: E402

from deploy import hostlock, traffic  # noqa: E402
from deploy.asking import ask, forget  # noqa: E402
from deploy.events import (  # noqa: E402
    Event,
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
from deploy.holding import hold  # noqa: E402
from deploy.liveness import hang_up, prompt_transport, tend  # noqa: E402
from deploy.roles import apply_roles, build_trainer_of  # noqa: E402
from inventory.errors import SdfleetError  # noqa: E402
from inventory.hosts import pyinfra_hosts  # noqa: E402
from inventory.load import load  # noqa: E402
from roles.onhost.journal import reason  # noqa: E402
from roles.operations.release import limit_switches  # noqa: E402

Step = Callable[[Host], None]
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CONNECT_SECONDS = 15


def emit(event: Event) -> None:
    """Send one event to the command line."""
    sys.stdout.write(event.model_dump_json() + "\n")
    sys.stdout.flush()


class _LogToEvents(logging.Handler):
    """pyinfra's log lines, as events of the host that is current."""

    def emit(self, record: logging.LogRecord) -> None:
        host = ctx_host.get() if ctx_host.isset() else None
        text = ANSI.sub("", record.getMessage()).rstrip()
        if host is not None:
            text = text.removeprefix(ANSI.sub("", host.print_prefix)).strip()
        # pyinfra's way to say that an operation failed; what it failed of is in its result.
        if text and not text.startswith("Error: executed "):
            emit(Log(host=_name(host) if host else "", level=record.levelno, text=text))


class _ConnectErrors(BaseStateCallback):
    """Why each host could not be reached."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def host_connect_error(self, state: State, host: Host, error: Exception) -> None:  # type: ignore[override]
        self.reasons[_name(host)] = str(error)


class _Run:
    """The state of one run over the chosen hosts."""

    def __init__(self, request: Request, declare: Callable[[Collection[str]], None] = apply_roles) -> None:
        """Runs of `request`; `declare` declares the operations of pyinfra's current host, for the roles it is given."""
        fleet = load(Path(request.fleet))
        self.request, self.declare = request, declare
        if request.trainer_of:
            self.declare = lambda _: build_trainer_of(Path(request.trainer_of))
        self.budget = fleet.table.failure_budget if request.failures is None else request.failures
        limit_switches(fleet.table.rollout.away(len(fleet.hosts)))
        self.failed = 0
        shared = {"ssh_paramiko_connect_kwargs": {"transport_factory": prompt_transport}}
        self.inventory = Inventory((pyinfra_hosts(fleet, request.hosts), shared))
        shell = " ".join([*hostlock.STEP, "sh"]) if request.apply else "sh"
        self.state = State(self.inventory, Config(DIFF=request.diff, CONNECT_TIMEOUT=CONNECT_SECONDS, SHELL=shell))
        self.state.cwd = str(Path.cwd())
        self.connect_errors = _ConnectErrors()
        self.state.add_callback_handler(self.connect_errors)

    def over(self) -> bool:
        return self.failed > self.budget

    def fail(self, host: Host, message: str, began: float, status: Status = "failed") -> None:
        self.failed += 1
        self.state.failed_hosts.add(host)
        self.state.active_hosts.discard(host)
        emit(self.result(host, status, began, error=message))

    def all_hosts(self) -> int:
        """Run every host to its end; the number of failed ones."""
        with ctx_state.use(self.state), ctx_inventory.use(self.inventory):
            self.state.set_stage(StateStage.Connect)
            self._each(list(self.inventory), self.connect)
            self.state.set_stage(StateStage.Prepare)
            self._each(list(self.inventory.get_active_hosts()), self.prepare)
            order = list(self.state.get_op_order())
            if self.request.apply:
                self.state.set_stage(StateStage.Execute)
                self.state.is_executing = True
            self._each(list(self.inventory.get_active_hosts()), lambda host: self.finish(host, order))
            self._each(list(self.state.activated_hosts), self.disconnect)
        return self.failed

    def _each(self, hosts: list[Host], step: Step) -> None:
        gevent.joinall([self.state.pool.spawn(step, host) for host in hosts], raise_error=True)

    def connect(self, host: Host) -> None:
        began = time.monotonic()
        emit(Phase(host=_name(host), phase="connecting"))
        with contextlib.suppress(OSError, EOFError):
            host.connect(show_errors=False)
        if not host.connected:
            reason = self.connect_errors.reasons.get(_name(host), "the connection was closed")
            self.fail(host, _unreachable(host, reason), began, "unreachable")
            return
        self.state.activate_host(host)
        tend(host)
        traffic.count(host)
        if self.request.apply and not self.request.locked:
            traffic.add(host)
            if why := hold(host, "apply"):
                self.fail(host, why, began)
                return
        emit(Phase(host=_name(host), phase="reading"))
        with self.current(host, began):
            ask(host, [functools.partial(self.declare, (role,)) for role in self.request.roles])

    def prepare(self, host: Host) -> None:
        with self.current(host, time.monotonic()):
            try:
                self.declare(self.request.roles)
            finally:
                forget(host)

    @contextlib.contextmanager
    def current(self, host: Host, began: float) -> Iterator[None]:
        """Make `host` pyinfra's current one; what fails within fails the host."""
        with ctx_config.use(self.state.config.copy()), ctx_host.use(host):
            try:
                yield
            except Exception as error:
                self.fail(host, _reason(error), began)

    def finish(self, host: Host, order: list[str]) -> None:
        """Apply, or only list, what was prepared for one host."""
        began = time.monotonic()
        operations = [op for op in order if op in self.state.ops[host]]
        if self.request.apply:
            emit(Phase(host=_name(host), phase="applying", operations=len(operations)))
            self.execute(host, operations)
            return
        changes = [self.state.ops[host][op].operation_meta.will_change for op in operations]
        for op, change in zip(operations, changes, strict=True):
            emit(Planned(host=_name(host), operation=self.label(op), change=change))
        emit(self.result(host, "ok", began, sum(changes), changes.count(False)))

    def execute(self, host: Host, operations: list[str]) -> None:
        began = time.monotonic()
        changed = unchanged = 0
        for op in operations:
            if self.over():
                emit(self.result(host, "stopped", began, changed, unchanged))
                return
            op_began = time.monotonic()
            emit(Started(host=_name(host), operation=self.label(op)))
            error = ""
            with ctx_config.use(self.state.config.copy()), ctx_host.use(host):
                try:
                    succeeded = run_host_op(self.state, host, op)
                except Exception as caught:
                    succeeded, error = False, _reason(caught)
            meta = self.state.ops[host][op].operation_meta
            result: Outcome = "failed" if not succeeded else "changed" if meta.did_change() else "unchanged"
            seconds = time.monotonic() - op_began
            emit(Finished(host=_name(host), operation=self.label(op), result=result, seconds=seconds))
            if not succeeded:
                self.fail(host, f"{self.label(op)}: {error or _last_words(meta)}", began)
                return
            changed += result == "changed"
            unchanged += result == "unchanged"
        emit(self.result(host, "ok", began, changed, unchanged))

    @staticmethod
    def result(
        host: Host, status: Status, began: float, changed: int = 0, unchanged: int = 0, error: str = ""
    ) -> HostResult:
        return HostResult(
            host=_name(host),
            status=status,
            changed=changed,
            unchanged=unchanged,
            seconds=time.monotonic() - began,
            round_trips=traffic.round_trips(host),
            error=error,
        )

    def label(self, op: str) -> str:
        return ", ".join(sorted(self.state.get_op_meta(op).names))

    @staticmethod
    def disconnect(host: Host) -> None:
        with contextlib.suppress(Exception):
            host.disconnect()
            if client := getattr(host.connector, "client", None):
                hang_up(client.get_transport())
                client.close()


def _name(host: Host) -> str:
    return str(host.data.settings.name)


def _unreachable(host: Host, reason: str) -> str:
    connection = host.data.settings.connection
    over = f" over the jump host {', '.join(map(str, connection.hops))}" if connection.hops else ""
    return (
        f"cannot connect to {connection.user}@{connection.address} port {connection.port}{over}: {reason}; "
        "check that the server is up, its address and key in fleet.toml, and its entry in known_hosts"
    )


def _reason(error: Exception) -> str:
    """What to tell a person; an error that is not meant for people gets its traceback into the log."""
    if not isinstance(error, SdfleetError | PyinfraError):
        emit(Log(host="", level=logging.DEBUG, text=traceback.format_exc()))
        return f"{type(error).__name__}: {error}"
    return str(error) or type(error).__name__


def _last_words(meta: OperationMeta) -> str:
    lines = [line for line in (meta.stderr_lines or meta.stdout_lines) if line.strip()]
    return reason(lines) if lines else "the command failed without a word"


def end_with_the_controller() -> None:
    """End this process when the one that started it is gone: it may hold the hosts' locks for us."""
    sys.stdin.read()
    os._exit(1)


def main(declare: Callable[[Collection[str]], None] = apply_roles) -> None:
    """Serve one request, by what `declare` declares for a host."""
    request = Request.model_validate_json(sys.stdin.readline())
    gevent.get_hub().threadpool.spawn(end_with_the_controller)
    logger = logging.getLogger("pyinfra")
    logger.addHandler(_LogToEvents())
    logger.setLevel(logging.INFO)
    # With False the order of operations is an index per host, and hosts that branch differently collide.
    pyinfra.is_cli = True
    sys.exit(1 if _Run(request, declare).all_hosts() else 0)


if __name__ == "__main__":
    main()
