"""Confirm changes of hosts from outside, over a new connection: a host that is not confirmed undoes them.

The host's part is roles/onhost/confirm.py: before a change it writes down what serves, and puts it back if no
controller has come back in time.
"""

import http.client
import json
import secrets
import shlex
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError, Remote
from inventory.errors import SdfleetError
from inventory.model import HostSettings
from roles.gateway.backends import backends
from roles.gateway.rendering import has_certificate, in_url, public_name
from roles.programs import command

PROGRAM = "confirm"
UNREADY = json.dumps({"unready": True})
HAS_PROGRAM = "import sys, zipfile; sys.exit(sys.argv[2] not in zipfile.ZipFile(sys.argv[1]).namelist())"
USAGE = 2
"""argparse's status for arguments that a program does not know."""
HEALTH = "/sdfleet/health"
ANSWER_SECONDS = 4
TRY_SECONDS = 15
"""How long a gateway that answered before may take to answer again."""
PAUSE_SECONDS = 1

Ask = Callable[[str], tuple[int, str]]
"""Runs a shell command on a host: its status, and what it printed."""


class UnconfirmedError(SdfleetError):
    """A change could not be confirmed."""


class UndoneError(UnconfirmedError):
    """It was undone before."""


def new_change() -> str:
    """A name for what a run is about to change."""
    return secrets.token_hex(8)


def command_of(host: HostSettings, *words: object) -> str:
    """The command that runs the host's part.

    It prints nothing on a host that has no programs of ours, and `UNREADY` where they are damaged or another sdfleet's.
    """
    onhost = str(host.paths.onhost)
    has = shlex.join(["python3", "-I", "-c", HAS_PROGRAM, onhost, f"roles/onhost/{PROGRAM}.py"])
    unready = f"{{ echo {shlex.quote(UNREADY)}; exit; }}"
    runs = shlex.join(command(host.paths.onhost, PROGRAM, *words))
    return shlex.join(
        [
            *("sh", "-c"),
            f"[ -e {shlex.quote(onhost)} ] || exit 0; {has} 2>/dev/null || {unready}; "
            f"{runs}; status=$?; [ $status -ne {USAGE} ] || {unready}; exit $status",
        ]
    )


def answer_of(said: str) -> Mapping[str, Any]:
    """What a host's part answered. Raises ValueError."""
    told = json.loads(said or "{}")
    if not isinstance(told, dict):
        raise ValueError(f"no object: {said[:200]!r}")
    return told


def confirm(host: HostSettings, token: str, ask: Ask) -> None:
    """Confirm a host's change, if it waits and the gateway still answers.

    + token: names the change; empty for whatever waits
    + ask: over a connection made since the change
    Raises UnconfirmedError.
    """
    answered = answer_of(_answer(ask(command_of(host, "pending")))).get("answered", [])
    if silent := silent_addresses([url for url in answered if url in addresses(host)]):
        raise UnconfirmedError(f"the gateway answered before at {' and '.join(silent)}, and does not any more")
    told = answer_of(_answer(ask(command_of(host, "done", "--token", token))))
    if told.get("unready"):
        raise UnconfirmedError("its programs are damaged or of another sdfleet")
    if told.get("other"):
        raise UnconfirmedError("another run of sdfleet changes this host")
    if undone := told.get("undone"):
        raise UndoneError(f"the host went back by itself ({'; '.join(map(str, undone))})")


def _answer(answer: tuple[int, str]) -> str:
    status, said = answer
    if status:
        raise UnconfirmedError(said.strip().splitlines()[-1] if said.strip() else f"status {status}")
    return said


def confirm_anew(host: HostSettings, token: str) -> None:
    """Confirm a host's change over a new connection. Raises UnconfirmedError."""

    def ask(remote: Remote, line: str) -> tuple[int, str]:
        answer = remote.run(shlex.split(line), check=False, label="confirming the change")
        return answer.status, answer.out or answer.err

    try:
        with connect([host]) as fresh:
            confirm(host, token, lambda line: ask(fresh[host.name], line))
    except HostError as error:
        raise UnconfirmedError(error.reason) from error
    except ValueError as error:
        raise UnconfirmedError(str(error)) from error


def unconfirmed(remotes: Mapping[str, Remote], token: str, armed: bool) -> dict[str, str]:
    """Confirm a change of several hosts, over new connections. Returns why that failed, by host.

    + token: names the change; empty for whatever waits
    + armed: whether changes of this run wait at all
    """

    def why(remote: Remote) -> str:
        if remote.host.connection.local or not (armed or remote.unconfirmed):
            return ""
        try:
            # What an earlier run left may still have its name, if this one had nothing to change.
            confirm_anew(remote.host, "" if remote.unconfirmed else token)
        except UnconfirmedError as error:
            return str(error)
        return ""

    return {name: str(said) for name, said in each(remotes, why).items() if str(said)}


def sentences(told: Mapping[str, Any]) -> list[str]:
    """What a person must know of a host that went back by itself, or is about to.

    + told: from `told` of the host's part
    """
    found = []
    if undone := told["undone"]:
        parts = [*undone["done"], *(f"could not put back {part}" for part in undone["failed"])]
        found.append(
            f"went back by itself at {undone['at']}, since a change by {undone['by']} was not confirmed: "
            f"{'; '.join(parts)}; the next apply or update tries again"
        )
    if waiting := told["waits"]:
        found.append(
            f"a change by {waiting['by']} of {waiting['at']} is not confirmed yet; without a controller the "
            f"host puts back what served before after {waiting['seconds']:g} s"
        )
    return found


def addresses(host: HostSettings) -> list[str]:
    """Where the first service behind a host's gateway says whether it is well; none without a gateway."""
    gateway = host.gateway
    if not host.has("gateway") or not gateway.enabled:
        return []
    if not has_certificate(gateway):
        return [f"{url}{HEALTH}" for url in gateway.public_urls[:1]]
    name = in_url(public_name(gateway, host.connection.address))
    first = backends(gateway, host.roles, host.webui, host.comfyui, host.lora_scripts)[:1]
    return [f"https://{name}:{backend.public_port}{HEALTH}" for backend in first]


def answering(urls: Iterable[str]) -> list[str]:
    """Those of the addresses that answer, from here."""
    return [url for url in urls if _answers(url)]


def silent_addresses(urls: Sequence[str], seconds: float = TRY_SECONDS) -> list[str]:
    """Those that do not answer within that time."""
    deadline = time.monotonic() + seconds
    while (silent := [url for url in urls if not _answers(url)]) and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return silent


def _answers(url: str) -> bool:
    """Whether something well answers. Who it is does not matter: it is only compared with what answered before."""
    parts = urlsplit(url)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 443, timeout=ANSWER_SECONDS, context=trusting
    )
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
