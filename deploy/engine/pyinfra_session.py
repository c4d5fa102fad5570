"""pyinfra's state of one run: the only module that uses what pyinfra may change at any time.

Each host runs its own operations without waiting for the others, so a slow or failing host delays no other.
Only for the engine's process, which patches the standard library before it imports this.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gevent
from pyinfra.api.config import Config
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import OperationMeta
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import BaseStateCallback, State, StateStage
from pyinfra.connectors.local import LocalConnector
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from deploy.engine.connector import HostConnector

Step = Callable[[Host], None]
CONNECT_SECONDS = 15


class Session:
    """The hosts of one run and their operations."""

    def __init__(self, entries: Sequence[tuple[str, dict[str, Any]]], diff: bool, shell: str) -> None:
        """`entries` are pyinfra's host names and their data; `shell` is the command that runs each command."""
        self._inventory = _Hosts(entries)
        self._state = State(self._inventory, Config(DIFF=diff, CONNECT_TIMEOUT=CONNECT_SECONDS, SHELL=shell))
        self._state.cwd = str(Path.cwd())
        self._connect_errors = _ConnectErrors()
        self._state.add_callback_handler(self._connect_errors)
        self._order: list[str] = []

    def run(self, connect: Step, prepare: Step, finish: Step, apply: bool) -> None:
        """Take the hosts through the three steps; each waits for all hosts, and passes over those that failed.

        + apply: whether `finish` executes operations
        """
        state, inventory = self._state, self._inventory
        with ctx_state.use(state), ctx_inventory.use(inventory):
            state.set_stage(StateStage.Connect)
            self._each(inventory, connect)
            state.set_stage(StateStage.Prepare)
            self._each(inventory.get_active_hosts(), prepare)
            self._order = list(state.get_op_order())
            if apply:
                state.set_stage(StateStage.Execute)
                state.is_executing = True
            self._each(inventory.get_active_hosts(), finish)
            self._each(state.activated_hosts, _disconnect)

    def _each(self, hosts: Iterable[Host], step: Step) -> None:
        gevent.joinall([self._state.pool.spawn(step, host) for host in list(hosts)], raise_error=True)

    def connect(self, host: Host) -> str | None:
        """Connect to a host. Returns why that failed, "" if pyinfra does not say; None if it is connected."""
        if host.data.askpass:
            # Otherwise pyinfra would upload its own program and put the password into each command line.
            host.connector_data["prompted_sudo_password"] = "told by SUDO_ASKPASS"
            host.connector_data[f"sudo_askpass_path__{host.get_temp_dir_config()}"] = str(host.data.askpass)
        with contextlib.suppress(OSError, EOFError):
            host.connect(show_errors=False)
        if not host.connected:
            return self._connect_errors.reasons.get(host, "")
        self._state.activate_host(host)
        return None

    def leave_out(self, host: Host) -> None:
        """Pass over a host in the steps that follow: it has failed."""
        self._state.failed_hosts.add(host)
        self._state.active_hosts.discard(host)

    @contextlib.contextmanager
    def current(self, host: Host) -> Iterator[None]:
        """Make `host` pyinfra's current host."""
        with ctx_config.use(self._state.config.copy()), ctx_host.use(host):
            yield

    def operations(self, host: Host) -> list[str]:
        """pyinfra's ids of the host's prepared operations, in order."""
        return [op for op in self._order if op in self._state.ops[host]]

    def meta(self, host: Host, op: str) -> OperationMeta:
        """What is known of an operation: whether it will change or did change the host, and its output."""
        return self._state.ops[host][op].operation_meta

    def label(self, host: Host, op: str) -> str:
        """The operation's name on this host."""
        return operation_name(self._state, host, op)

    def execute(self, host: Host, op: str) -> bool:
        """Run one operation. Returns whether it succeeded; raises what it raises."""
        with self.current(host):
            return bool(run_host_op(self._state, host, op))


class _Hosts(Inventory):
    """An inventory whose hosts are reached by `HostConnector`, or are the local machine.

    pyinfra finds connectors by entry points, and every program loads those of all packages. Other programs cannot
    import sdfleet's packages, so the class is named here.
    """

    def __init__(self, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
        super().__init__((entries, {}))  # type: ignore[no-untyped-call]

    def make_hosts_and_groups(self, names: Iterable[tuple[str, dict[str, Any]]], groups: object) -> None:
        self.hosts = {}
        for name, data in names:
            self.host_data[name] = data
            reached_by = LocalConnector if name == "@local" else HostConnector
            self.hosts[name] = Host(name, inventory=self, groups=[], connector_cls=reached_by)


class _ConnectErrors(BaseStateCallback):
    """Collects why each host could not be reached."""

    def __init__(self) -> None:
        self.reasons: dict[Host, str] = {}

    def host_connect_error(self, state: State, host: Host, error: Exception) -> None:  # type: ignore[override]
        self.reasons[host] = str(error)


def _disconnect(host: Host) -> None:
    with contextlib.suppress(Exception):
        host.disconnect()


def current_host() -> Host | None:
    """pyinfra's current host, if it has one."""
    return ctx_host.get() if ctx_host.isset() else None


def operation_name(state: State, host: Host, op: str) -> str:
    """The operation's name on this host; pyinfra keeps the names of all hosts together."""
    names, own = state.get_op_meta(op).names, state.ops[host][op].global_arguments.get("name")
    mine = [name for name in names if own and (name == own or name.endswith(f" | {own}"))]
    return ", ".join(sorted(mine or names))
