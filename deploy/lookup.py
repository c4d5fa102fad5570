"""What one moving name of fleet.toml stands for now, and who says so."""

import functools
from collections.abc import Collection, Mapping

from deploy import gitrefs
from deploy.agreeing import Roads, Witnesses, to_model, to_url
from deploy.ssh import HostError, connect
from inventory.errors import SdfleetError
from inventory.lock import GitPin, ModelPin
from inventory.model import Fleet, HostSettings
from roles.models.config import Model
from roles.models.sources import resolve
from roles.models.sources.web import Asker, Content, SourceError

HASH_SECONDS = 600
"""How long a host may take to hash one model."""


def model(
    fleet: Fleet,
    host: HostSettings,
    secrets: Mapping[str, str],
    wanted: Model,
    witnesses: Witnesses,
    beside: Collection[str] = (),
) -> tuple[ModelPin, Roads]:
    """What a model stands for now, and the roads it could be asked over; those in `beside` are left out if others are.

    Raises SdfleetError or ValueError.
    """
    roads = to_model(wanted, host)

    def ask(endpoint: str) -> ModelPin:
        mirrors = roads.over(host.direct, endpoint)
        on_host = functools.partial(_on_host, fleet)
        found = resolve(wanted, Asker(mirrors, secrets, on_host, here=fleet.file.parent))
        return ModelPin(
            source=wanted.source, wanted=wanted.files, revision=found.revision, files=found.pins, card=found.card
        )

    # A card is no part of what must agree: it decides nothing, and changes with each new picture.
    pin, asked = witnesses.ask(roads.without(beside), lambda endpoint: _Same(ask(endpoint)))
    return pin.pin.model_copy(update={"asked": asked}), roads


def git_ref(
    url: str, ref: str, host: HostSettings, witnesses: Witnesses, beside: Collection[str] = ()
) -> tuple[GitPin, Roads]:
    """What a git ref stands for now, and the roads it could be asked over; those in `beside` likewise.

    Raises SdfleetError.
    """
    roads = to_url(url, host.direct)
    try:
        known, asked = witnesses.ask(roads.without(beside), lambda endpoint: gitrefs.resolve(url, ref, endpoint))
    except SdfleetError as error:
        raise SdfleetError(f"cannot find out what {ref!r} of {url} is: {error}") from error
    return known.model_copy(update={"asked": asked}), roads


class _Same:
    """A model's pin, equal to another of the same files."""

    def __init__(self, pin: ModelPin) -> None:
        self.pin = pin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and same_files(self.pin, other.pin)

    __hash__ = None  # type: ignore[assignment]


def same_files(one: ModelPin, other: ModelPin) -> bool:
    """Whether two pins are the same files of the same revision."""
    return (one.revision, one.files) == (other.revision, other.files)


def _on_host(fleet: Fleet, name: str, path: str) -> Content:
    """Size and hash of a file that a host of the fleet gives away. Raises SourceError."""
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
