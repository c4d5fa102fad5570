"""The stores of models on hosts: read, compared with what each host should have, checked and cleaned."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from deploy.connection.several import each
from deploy.connection.ssh import HostError, Remote
from deploy.console import err, styled
from deploy.onhost import unused
from inventory.errors import SdfleetError
from inventory.model import HostSettings
from roles.models.config import FOLDERS
from roles.models.state import StoreContents, parse_store, store_command
from roles.models.wanted import Wanted, WantedError, wanted

LOOK_SECONDS = 60
HASH_SECONDS = 4 * 3600
"""How long hashing a whole store may take; a slow disk reads 2 TB in that time."""
T = TypeVar("T")


@dataclass(frozen=True)
class HostModels:
    """The models that a host should have, and those that it has."""

    remote: Remote
    goal: Wanted
    seen: StoreContents

    def has(self, kind: str, name: str) -> bool:
        files = [file for file in self.goal.files if file.of(kind, name)]
        return bool(files) and all(self.seen.has(file) for file in files)


def read_stores(remotes: dict[str, Remote]) -> list[HostModels]:
    """Every host's models, with one command per host. Prints an error for a host that cannot be read."""

    def look(remote: Remote) -> HostModels:
        host = remote.host
        answer = remote.run(["sh", "-c", store_command(host.paths)], timeout=LOOK_SECONDS)
        seen = parse_store(answer.out.splitlines(), host.paths)
        if seen.damaged:
            raise HostError(seen.damaged, host=remote.name)
        return HostModels(remote, _wanted(host), seen)

    return list(answered(each(remotes, look)).values())


def ignored_loras(remote: Remote) -> dict[str, str]:
    """Files in the WebUI's Lora folder that it ignores -> why. Forks of the WebUI read more key names."""
    host = remote.host
    if not host.has("webui") or host.webui.flavor != "a1111":
        return {}
    folder, store = host.paths.data("webui") / FOLDERS["lora"], host.paths.store
    answer = remote.start("lora_keys", folder, store).out
    try:
        found: dict[str, str] = json.loads(answer)
    except ValueError as error:
        raise HostError(f"expected JSON, got {answer[:200]!r}", host=host.name) from error
    return found


def unused_files(remote: Remote, delete: Sequence[str] = ()) -> dict[str, int]:
    """Files in the store that neither the manifest nor a link on the host needs -> bytes. Deletes those in `delete`."""
    host = remote.host
    places = [host.paths.root / "data", host.paths.hub, host.paths.converted]
    answer = remote.call(
        unused,
        timeout=LOOK_SECONDS,
        store=str(host.paths.store),
        places=[str(place) for place in places],
        needed=[file.sha256 for file in _wanted(host).files],
        delete=list(delete),
    )
    if "error" in answer:
        raise HostError(str(answer["error"]), host=remote.name)
    files: dict[str, int] = answer["files"]
    return files


def delete_files(remote: Remote, files: Sequence[PurePosixPath]) -> None:
    """Delete files of a store; fails while a sync runs."""
    if files:
        lock = str(remote.host.paths.store / "lock")
        remote.run(["flock", "--nonblock", lock, "rm", "-f", "--", *map(str, files)], timeout=LOOK_SECONDS)


def damaged_files(remote: Remote) -> list[PurePosixPath]:
    folder = remote.host.paths.store / "sha256"
    place = shlex.quote(str(folder))
    script = f"test -d {place} && find {place} -type f -exec sha256sum -z {{}} + ; true"
    lines = remote.run(["sh", "-c", script], timeout=HASH_SECONDS).out.split("\0")[:-1]
    hashed = {PurePosixPath(path): digest for digest, _, path in (line.partition("  ") for line in lines)}
    return sorted(path for path, digest in hashed.items() if path.name != digest)


def answered(answers: Mapping[str, T | HostError]) -> dict[str, T]:
    """The answers of the hosts; prints the errors of the others. Raises SdfleetError if no host answered."""
    for answer in answers.values():
        if isinstance(answer, HostError):
            err.print(styled("[bold red]error[/] {}", answer))
    good = {name: answer for name, answer in answers.items() if not isinstance(answer, HostError)}
    if answers and not good:
        raise SdfleetError("no host answered")
    return good


def _wanted(host: HostSettings) -> Wanted:
    """The models that the host should have. Raises SdfleetError."""
    try:
        return wanted(host.models, host.paths, host.mirrors)
    except WantedError as error:
        raise SdfleetError(str(error)) from error
