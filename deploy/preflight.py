"""What `sdfleet check` validates besides fleet.toml itself: the files on this machine that it names."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from inventory import lock as locks
from inventory.errors import ConfigError, Problem, SdfleetError
from inventory.load import check
from inventory.model import Fleet
from inventory.secrets import Secrets
from roles.gateway.logins import LoginError, parse_logins
from roles.models.config import LockedModel, Model
from roles.models.sources import plain


def checked(file: Path) -> Fleet:
    """The fleet in `file`. Raises ConfigError with every mistake of the file, and of those that it names here."""
    return check(file, _files)


def _files(file: Path, secrets: Secrets | None, models: Iterable[Model]) -> Iterator[Problem]:
    if secrets:
        yield from _logins(secrets.beside(file.parent))
    lock = locks.Lock()
    with suppress(ConfigError):  # reported by whoever reads the fleet
        lock = locks.read(file)
    for model in models:
        if not model.source.startswith("file:") or isinstance(locks.pin_model(model, lock), LockedModel):
            continue
        if why := plain.unsendable(plain.local_path(model, file.parent)):
            yield Problem(f"models.{model.name}", why)


def _logins(secrets: Secrets) -> Iterator[Problem]:
    logins = secrets.gateway_logins
    # A variable or a command may belong to another machine; a file that is missing is reported with the others.
    if not logins or not logins.file or not logins.file.is_file():
        return
    try:
        parse_logins(logins.read("secrets.gateway_logins"))
    except LoginError as error:
        yield from (Problem("", sentence) for sentence in error.sentences)
    except SdfleetError as error:
        yield Problem("", str(error))
