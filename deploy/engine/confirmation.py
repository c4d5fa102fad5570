"""Arm hosts before the engine changes them, and confirm them at the end. Only for the engine's process."""

from collections.abc import Sequence
from dataclasses import dataclass

from gevent import sleep
from paramiko import SSHException
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host

from deploy.confirmation import (
    UnconfirmedError,
    UndoneError,
    addresses,
    answer_of,
    answering,
    command_of,
    confirm,
    new_change,
)
from deploy.connection.askpass import sudo
from deploy.engine.connector import HostConnector
from deploy.engine.events import Request
from inventory.hosts import whoami
from inventory.model import HostSettings
from roles.gateway.rendering import CERTIFICATE, KEY
from roles.mirrors import tasks as mirrors
from roles.paths import GATEWAY, MIRRORS_ENV

NOTHING_TO_KEEP = frozenset({"models"})
"""Roles that switch nothing: their files are looked at by what is already there."""
TRIES = 3
PAUSE_SECONDS = 2

FILES = (
    *(mirrors.GITCONFIG, mirrors.PIP_CONF, mirrors.UV_TOML, mirrors.APT_PROXY, mirrors.APT_SOURCES, MIRRORS_ENV),
    *mirrors.DISTRIBUTION_SOURCES,
    *(path.with_name(path.name + mirrors.SAVED) for path in mirrors.DISTRIBUTION_SOURCES),
    *(CERTIFICATE, KEY),
)
"""Files that a host puts back, beside releases and units."""


@dataclass(frozen=True)
class Change:
    """One run's change of hosts."""

    token: str
    """Names it."""
    verb: str
    seconds: int
    """How long a host waits for its confirmation; 0: it is not armed."""

    def arm(self, host: HostSettings, answered: Sequence[str]) -> str:
        """The command that has a host undo what follows, unless that is confirmed.

        + answered: addresses of its gateway that answer
        """
        words: list[object] = ["arm", "--root", host.paths.root, "--home", GATEWAY]
        words += ["--seconds", self.seconds, "--token", self.token, "--by", f"`sdfleet {self.verb}` of {whoami()}"]
        words += [word for file in FILES for word in ("--file", file)]
        words += [word for url in answered for word in ("--answered", url)]
        return command_of(host, *words)


class ArmError(Exception):
    """A host cannot undo what would follow; the text is for a person."""


class Guard:
    """What the hosts of one run undo by themselves, unless this run confirms it."""

    def __init__(self, request: Request, seconds: int) -> None:
        """`seconds` is fleet.rollout.confirm_seconds."""
        useful = request.apply and not request.trainer_of and not NOTHING_TO_KEEP.issuperset(request.roles)
        verb = "update" if request.locked else "apply"
        self.change = Change(request.change or new_change(), verb, seconds if useful else 0)
        self.confirms = not request.locked
        self._armed: set[str] = set()
        self._settled: set[str] = set()
        self._unable: set[str] = set()
        self._answered: dict[str, list[str]] = {}

    def waits(self, host: Host) -> bool:
        """Whether a host undoes what this run changes, unless it is confirmed."""
        return host.name in self._armed

    def begin(self, host: Host) -> None:
        """Go on with what waits on a host from an earlier run, if there is something."""
        if isinstance(host.connector, HostConnector) and host.connector.unconfirmed:
            self._armed.add(host.name)

    def before(self, host: Host) -> None:
        """Arm a host, before its first change. Raises ArmError."""
        if not self.change.seconds or host.name in self._settled or not isinstance(host.connector, HostConnector):
            return
        settings = host.data.settings
        if host.name not in self._answered:
            self._answered[host.name] = answering(addresses(settings))
        arming = self.change.arm(settings, self._answered[host.name])
        well, said = host.run_shell_command(arming, print_output=False, _sudo=bool(host.data.get("_sudo")))
        answer = answer_of(said.stdout) if well else {}
        if well and not answer:
            return  # a host that has nothing yet
        if answer.get("unready"):
            self._unable.add(host.name)
            return  # until the base role has put it
        if not well:
            cure = "fix that, or set fleet.rollout.confirm_seconds to 0 to change it without a way back by itself"
            why = (said.stderr.strip() or "no reason given").splitlines()[-1]
            raise ArmError(f"it could not prepare to go back by itself: {why}; {cure}")
        self._unable.discard(host.name)
        self._settled.add(host.name)
        if answer.get("waits"):
            self._armed.add(host.name)

    def after(self, host: Host) -> str:
        """Confirm what a host waits for, over a new connection. Returns why that failed; empty if it did not."""
        if host.name in self._unable:
            cure = "run once: sdfleet apply --role base"
            host.log(f"could not have undone this by itself, as what does that is not installed; {cure}")
        if not self.confirms or host.name not in self._armed:
            return ""
        connector, settings = host.connector, host.data.settings
        assert isinstance(connector, HostConnector)
        words = " ".join(sudo(settings.connection, host.data.askpass))
        token = self.change.token if host.name in self._settled else ""
        why = ""
        for attempt in range(TRIES):
            sleep(PAUSE_SECONDS if attempt else 0)
            try:
                with connector.another_connection() as run:
                    confirm(settings, token, lambda line: run(f"{words} {line}"))
                return ""
            except UndoneError as error:
                return str(error)
            except UnconfirmedError as error:
                why = str(error)
                break
            except (ConnectError, OSError, EOFError, SSHException, ValueError) as error:
                why = str(error) or "the connection was closed"
        return f"the change was not confirmed: {why}; {self.said()}"

    def said(self) -> str:
        """What a host does that is not confirmed."""
        return f"it puts back what served before {self.change.seconds} s after this run, unless you apply again"
