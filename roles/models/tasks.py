"""Operations of the models role."""

import hashlib
import os
import shlex
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path

from pyinfra.api.command import PyinfraCommand, QuoteString, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.models.addresses import ModelMirrors
from roles.models.config import Model
from roles.models.fact import StoreState
from roles.models.live import LiveCommand
from roles.models.request import manifest
from roles.models.sizes import format_bytes
from roles.models.sources.plain import unsendable
from roles.models.state import TOOL, StoreContents
from roles.models.tool import program
from roles.models.wanted import Wanted, WantedError, WantedFile, wanted
from roles.operations.files import put
from roles.operations.upload import upload
from roles.paths import WITH_MIRRORS, Paths


@deploy("Models")
def install(
    models: Sequence[Model],
    paths: Paths,
    mirrors: ModelMirrors,
    secrets: Mapping[str, str],
    here: Path,
    files_needed: bool = True,
    after: Sequence[PyinfraCommand] = (),
) -> None:
    """
    Bring the host's store and links to the manifest's state. The host is read in one command.

    + models: the host's models
    + paths: the host's paths
    + mirrors: where to fetch from
    + secrets: tokens by name, for sources that need one
    + here: folder from which relative paths of file: sources start
    + files_needed: whether a file: source that the host lacks must be on this machine, as to send it; if not, the
      change is only told
    + after: commands to run when something changed, to notify users of the models
    """
    try:
        goal = wanted(models, paths, mirrors, here)
    except WantedError as error:
        raise DeployError(str(error)) from error
    seen = host.get_fact(StoreState, paths=paths)
    refuse_conflicts(goal, seen)
    if files_needed:
        refuse_unsendable(goal, seen)
    for line in sync_changes(goal, seen, paths):
        host.log(line)
    synced(
        name="Fetch and link models",
        goal=goal,
        seen=seen,
        paths=paths,
        request=lambda: manifest(goal, seen, paths, mirrors, secrets),
        after=after,
    )


def refuse_conflicts(goal: Wanted, seen: StoreContents) -> None:
    """Fail, before anything is changed, if the role would have to change files that it does not own."""
    if seen.damaged:
        raise DeployError(seen.damaged)
    if taken := seen.in_the_way(goal):
        raise DeployError(
            f"{', '.join(map(str, taken))}: a file that sdfleet did not put there is in the way; "
            "move it aside, or give the model another name"
        )
    for file in seen.missing(goal):
        if file.adopted:
            raise DeployError(
                f"models.{file.model}: this host's store does not have it; run `sdfleet models adopt HOST FOLDER` "
                "where it lies, or give the model groups whose hosts have it"
            )


def refuse_unsendable(goal: Wanted, seen: StoreContents) -> None:
    """Fail, before anything is changed, if this machine lacks a file that the host lacks too."""
    for file in seen.missing(goal):
        if file.push and (why := unsendable(file.push)):
            raise DeployError(f"models.{file.model}: {why}")


def sync_changes(goal: Wanted, seen: StoreContents, paths: Paths) -> list[str]:
    """What a sync would do, one line per model; empty if nothing."""
    missing = {file.sha256: file for file in seen.missing(goal)}
    lines = [_fetch(files, seen) for files in _by_model(missing.values())]
    lines += [_link(files) for files in _by_model(seen.unlinked(goal, paths))]
    lines += [f"unlink {path}, which no model explains" for path in seen.unwanted(goal)]
    return lines + [f"write {path}" for path in seen.stale_texts(goal)]


def _by_model(files: Iterable[WantedFile]) -> list[list[WantedFile]]:
    """The files of each model."""
    groups: dict[tuple[str, str], list[WantedFile]] = {}
    for file in files:
        groups.setdefault((file.kind, file.model.partition("/")[0]), []).append(file)
    return list(groups.values())


def _named(files: Sequence[WantedFile]) -> tuple[str, str]:
    """The name of a single file, or of a model with several, and their number."""
    if len(files) == 1:
        return files[0].model, ""
    return files[0].model.partition("/")[0], f" {len(files)} files"


def _fetch(files: Sequence[WantedFile], seen: StoreContents) -> str:
    name, many = _named(files)
    sizes = [file.size for file in files if file.size is not None]
    size = format_bytes(sum(sizes) if len(sizes) == len(files) else None)
    have = sum(seen.partials.get(file.sha256, 0) for file in files)
    there = f", of which {format_bytes(have)} are there" if have else ""
    absent = [why for file in files if file.push and (why := unsendable(file.push))]
    lacks = f"; apply will fail: {absent[0]}" if absent else ""
    return f"{name}: fetch{f'{many},' if many else ''} {size}{there}{lacks}"


def _link(files: Sequence[WantedFile]) -> str:
    name, many = _named(files)
    if not many:
        return f"{name}: link {files[0].link}"
    return f"{name}: link{many} in {os.path.commonpath([file.link.parent for file in files])}"


@operation()
def synced(
    goal: Wanted, seen: StoreContents, paths: Paths, request: Callable[[], str], after: Sequence[PyinfraCommand]
) -> Generator[PyinfraCommand, None, None]:
    """
    Fetch what is missing and set the links.

    + goal: desired state
    + seen: the host's state, from `StoreState`
    + paths: the host's paths
    + request: makes the manifest; called late, because it may hold secrets
    + after: commands to run at the end
    """
    if not sync_changes(goal, seen, paths):
        host.noop("store and links are as the manifest says")
        return
    tool = paths.tools / TOOL
    partial = paths.store / "partial"
    yield StringCommand("mkdir", "-p", QuoteString(str(paths.tools)), QuoteString(str(partial)))
    if seen.tool != hashlib.sha256(program()).hexdigest():
        yield put(tool, program(), mode=0o755)
    for file in seen.missing(goal):
        if file.push:
            yield from upload(file.push, partial / file.sha256)
    run = f"{WITH_MIRRORS}; exec python3 {shlex.quote(str(tool))} -"
    yield LiveCommand("sh", "-c", QuoteString(run), progress=paths.store / "progress.json", _stdin=[request()])
    yield from after
