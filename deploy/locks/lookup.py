"""Resolve one moving name of fleet.toml, and say which servers answered."""

import functools
from collections.abc import Collection, Mapping

from deploy.connection.several import connect
from deploy.connection.ssh import HostError
from deploy.locks import gitrefs
from deploy.locks.consensus import Endpoints, Witnesses, endpoints_of_model, endpoints_of_url
from inventory.errors import SdfleetError
from inventory.lock import GitPin, ModelPin
from inventory.model import Fleet, HostSettings
from roles.models.config import Model
from roles.models.sources import resolve
from roles.models.sources.web import Content, HubClient, SourceError

HASH_SECONDS = 600
"""How long a host may take to hash one model."""


def model(
    fleet: Fleet,
    host: HostSettings,
    secrets: Mapping[str, str],
    wanted: Model,
    witnesses: Witnesses,
    beside: Collection[str] = (),
) -> tuple[ModelPin, Endpoints]:
    """What a model stands for now, and the servers that know it.

    + beside: servers to ask only if there is no other
    Raises SdfleetError or ValueError.
    """
    endpoints = endpoints_of_model(wanted, host)

    def ask(endpoint: str) -> ModelPin:
        mirrors = endpoints.over(host.direct, endpoint)
        on_host = functools.partial(_on_host, fleet)
        found = resolve(wanted, HubClient(mirrors, secrets, on_host, here=fleet.file.parent))
        return ModelPin(
            source=wanted.source, wanted=wanted.files, revision=found.revision, files=found.pins, card=found.card
        )

    # The model card need not agree: nothing depends on it, and it changes with each new picture.
    pin, asked = witnesses.ask(endpoints.without(beside), lambda endpoint: _Same(ask(endpoint)))
    return pin.pin.model_copy(update={"asked": asked}), endpoints


def git_ref(
    url: str, ref: str, host: HostSettings, witnesses: Witnesses, beside: Collection[str] = ()
) -> tuple[GitPin, Endpoints]:
    """What a git ref stands for now, and the servers that know it; `beside` as above. Raises SdfleetError."""
    endpoints = endpoints_of_url(url, host.direct)
    try:
        known, asked = witnesses.ask(endpoints.without(beside), lambda endpoint: gitrefs.resolve(url, ref, endpoint))
    except SdfleetError as error:
        raise SdfleetError(f"cannot look up {ref!r} of {url}: {error}") from error
    return known.model_copy(update={"asked": asked}), endpoints


class _Same:
    """A model's pin; equal to another if the files are the same."""

    def __init__(self, pin: ModelPin) -> None:
        self.pin = pin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and same_files(self.pin, other.pin)

    __hash__ = None  # type: ignore[assignment]


def same_files(one: ModelPin, other: ModelPin) -> bool:
    return (one.revision, one.files) == (other.revision, other.files)


def _on_host(fleet: Fleet, name: str, path: str) -> Content:
    """Size and hash of a file that a host of the fleet shares. Raises SourceError."""
    if name not in fleet.hosts:
        raise SourceError(f"no host {name!r} in the fleet; known are {', '.join(fleet.hosts)}")
    host = fleet.hosts[name]
    script = 'test -f "$1" && stat -L -c %s -- "$1" && sha256sum < "$1"'
    with connect([host]) as remotes:
        command = ["sh", "-c", script, "sh", str(host.paths.shared(path))]
        try:
            size, digest = remotes[name].run(command, timeout=HASH_SECONDS).out.split()[:2]
        except HostError as error:
            gone = "" if error.unreachable else f"is {host.paths.shared(path)} there? "
            raise SourceError(f"{gone}{error}") from error
    return Content(digest, int(size), "")
