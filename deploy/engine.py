"""One pyinfra run in its own process: request on standard input, events on standard output.

pyinfra needs gevent's monkey patching before any other import, which breaks torch's data loaders and slows other
libraries. So no other module imports this one; `deploy.engine_client` starts it as a child process.
Each host runs its own operations without waiting for the others, so a slow or failing host delays no other.
"""

from gevent import monkey

monkey.patch_all()

import contextlib  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

os.environ["PYINFRA_PROGRESS"] = "off"

import gevent  # noqa: E402
import pyinfra  # noqa: E402
from pyinfra.api.config import Config  # noqa: E402
from pyinfra.api.exceptions import PyinfraError  # noqa: E402
from pyinfra.api.host import Host  # noqa: E402
from pyinfra.api.inventory import Inventory  # noqa: E402
from pyinfra.api.operation import OperationMeta  # noqa: E402
from pyinfra.api.operations import run_host_op  # noqa: E402
from pyinfra.api.state import BaseStateCallback, State, StateStage  # noqa: E402
from pyinfra.connectors.local import LocalConnector  # noqa: E402
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state  # noqa: E402

from deploy import hostlock, refusals  # noqa: E402
from deploy.connector import HostConnector  # noqa: E402
from deploy.engine_hostlock import hold  # noqa: E402
from deploy.events import (  # noqa: E402
    LAST_STEP,
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
from deploy.questions import Memory, memory_folder  # noqa: E402
from deploy.roles import apply_roles, build_trainer_of  # noqa: E402
from deploy.ssh import HostError  # noqa: E402
from inventory.errors import SdfleetError  # noqa: E402
from inventory.hosts import pyinfra_hosts  # noqa: E402
from inventory.load import load  # noqa: E402
from inventory.model import Fleet  # noqa: E402
from roles.onhost.journal import reason  # noqa: E402
from roles.operations.release import limit_switches  # noqa: E402
from roles.settings import SettingError  # noqa: E402

Step = Callable[[Host], None]
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CONNECT_SECONDS = 15


def emit(event: Event) -> None:
    sys.stdout.write(event.model_dump_json() + "\n")
    sys.stdout.flush()


class _LogToEvents(logging.Handler):
    """Turns pyinfra's log lines into events of the host that a line names as `of`, or of the current one."""

    def emit(self, record: logging.LogRecord) -> None:
        host = getattr(record, "of", None) or (ctx_host.get() if ctx_host.isset() else None)
        text = ANSI.sub("", record.getMessage()).rstrip()
        if host is not None:
            text = text.removeprefix(ANSI.sub("", host.print_prefix)).strip()
        # pyinfra logs this when an operation fails; the reason is in the operation's result.
        if text and not text.startswith("Error: executed "):
            emit(Log(host=_name(host) if host else "", level=record.levelno, text=text))


class _ConnectErrors(BaseStateCallback):
    """Collects why each host could not be reached."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def host_connect_error(self, state: State, host: Host, error: Exception) -> None:  # type: ignore[override]
        self.reasons[_name(host)] = str(error)


class _Hosts(Inventory):
    """An inventory whose hosts are reached by `HostConnector`, or are the local machine.

    pyinfra finds connectors by entry points, and every program loads those of all packages. Other programs cannot
    import sdfleet's packages, so the class is named here.
    """

    def __init__(self, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """`entries` are pyinfra's host names and their data."""
        super().__init__((entries, {}))  # type: ignore[no-untyped-call]

    def make_hosts_and_groups(self, names: Iterable[tuple[str, dict[str, Any]]], groups: object) -> None:
        self.hosts = {}
        for name, data in names:
            self.host_data[name] = data
            reached_by = LocalConnector if name == "@local" else HostConnector
            self.hosts[name] = Host(name, inventory=self, groups=[], connector_cls=reached_by)


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
        self.inventory = _Hosts(self._entries(fleet))
        shell = " ".join([*hostlock.STEP, "sh"]) if request.apply else "sh"
        self.state = State(self.inventory, Config(DIFF=request.diff, CONNECT_TIMEOUT=CONNECT_SECONDS, SHELL=shell))
        self.state.cwd = str(Path.cwd())
        self.connect_errors = _ConnectErrors()
        self.state.add_callback_handler(self.connect_errors)

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

    def fail(self, host: Host, message: str, began: float, status: Status = "failed") -> None:
        self.failed += 1
        connector = host.connector
        if status == "failed" and isinstance(connector, HostConnector) and connector.lost:
            # What an operation then says of itself (mostly nothing, or half a line) is not why it failed.
            status = "unreachable"
            message = str(refusals.unreachable(host.data.settings, f"the connection was lost ({message})"))
        self.state.failed_hosts.add(host)
        self.state.active_hosts.discard(host)
        emit(self.result(host, status, began, error=message))

    def all_hosts(self) -> int:
        """Run all hosts. Returns how many failed."""
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
        if host.data.askpass:
            # Otherwise pyinfra would upload its own program and put the password into each command line.
            host.connector_data["prompted_sudo_password"] = "told by SUDO_ASKPASS"
            host.connector_data[f"sudo_askpass_path__{host.get_temp_dir_config()}"] = str(host.data.askpass)
        with contextlib.suppress(OSError, EOFError):
            host.connect(show_errors=False)
        if not host.connected:
            lost = str(refusals.unreachable(host.data.settings, "the connection was closed"))
            reason = self.connect_errors.reasons.get(_name(host), lost)
            self.fail(host, reason, began, "unreachable")
            return
        connection = host.data.settings.connection
        if connection.sudo and connection.sudo_password and not host.data.askpass:
            self.fail(host, refusals.wrong_password(host.data.settings), began)
            return
        self.state.activate_host(host)
        with self.current(host, began):
            if self.request.apply and not self.request.locked and (why := hold(host, "apply", self.waits(host))):
                self.fail(host, why, began)
                return
            emit(Phase(host=_name(host), phase="reading"))

    @staticmethod
    def waits(host: Host) -> Callable[[str], None]:
        """A function that reports what `host` waits for."""

        def tell(what: str) -> None:
            emit(Log(host=_name(host), level=logging.INFO, text=what))
            emit(Phase(host=_name(host), phase=LAST_STEP))

        return tell

    def prepare(self, host: Host) -> None:
        with self.current(host, time.monotonic()):
            self.declare(self.request.roles)

    @contextlib.contextmanager
    def current(self, host: Host, began: float) -> Iterator[None]:
        """Make `host` pyinfra's current host; an exception within fails it."""
        with ctx_config.use(self.state.config.copy()), ctx_host.use(host):
            try:
                yield
            except Exception as error:
                self.fail(host, _reason(error, host), began, _status(error))

    def finish(self, host: Host, order: list[str]) -> None:
        """Apply the prepared operations of one host, or only list them."""
        began = time.monotonic()
        operations = [op for op in order if op in self.state.ops[host]]
        if self.request.apply:
            emit(Phase(host=_name(host), phase="applying", operations=len(operations)))
            self.execute(host, operations)
            return
        changes = [self.state.ops[host][op].operation_meta.will_change for op in operations]
        for op, change in zip(operations, changes, strict=True):
            emit(Planned(host=_name(host), operation=self.label(host, op), change=change))
        emit(self.result(host, "ok", began, sum(changes), changes.count(False)))

    def execute(self, host: Host, operations: list[str]) -> None:
        began = time.monotonic()
        changed = unchanged = 0
        for op in operations:
            if self.over():
                emit(self.result(host, "stopped", began, changed, unchanged))
                return
            op_began = time.monotonic()
            emit(Started(host=_name(host), operation=self.label(host, op)))
            error = ""
            with ctx_config.use(self.state.config.copy()), ctx_host.use(host):
                try:
                    succeeded = run_host_op(self.state, host, op)
                except Exception as caught:
                    succeeded, error = False, _reason(caught, host)
            meta = self.state.ops[host][op].operation_meta
            result: Outcome = "failed" if not succeeded else "changed" if meta.did_change() else "unchanged"
            seconds = time.monotonic() - op_began
            emit(Finished(host=_name(host), operation=self.label(host, op), result=result, seconds=seconds))
            if not succeeded:
                self.fail(host, f"{self.label(host, op)}: {error or _last_words(meta)}", began)
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
            round_trips=host.connector.round_trips if isinstance(host.connector, HostConnector) else 0,
            error=error,
        )

    def label(self, host: Host, op: str) -> str:
        return operation_name(self.state, host, op)

    @staticmethod
    def disconnect(host: Host) -> None:
        with contextlib.suppress(Exception):
            host.disconnect()


def operation_name(state: State, host: Host, op: str) -> str:
    """The operation's name on this host; pyinfra keeps the names of all hosts together."""
    names, own = state.get_op_meta(op).names, state.ops[host][op].global_arguments.get("name")
    mine = [name for name in names if own and (name == own or name.endswith(f" | {own}"))]
    return ", ".join(sorted(mine or names))


def _name(host: Host) -> str:
    return str(host.data.settings.name)


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
    logger.addHandler(_LogToEvents())
    logger.setLevel(logging.INFO)
    # With False, operations are ordered by an index per host, which collides between hosts that branch differently.
    pyinfra.is_cli = True
    sys.exit(1 if _Run(request, declare).all_hosts() else 0)


if __name__ == "__main__":
    main()
