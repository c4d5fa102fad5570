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

from roles.models.addresses import Roads
from roles.models.amount import amount
from roles.models.config import Model
from roles.models.fact import StoreState
from roles.models.live import LiveCommand
from roles.models.request import manifest
from roles.models.sources.plain import unsendable
from roles.models.state import TOOL, Seen
from roles.models.tool import program
from roles.models.wanted import Wanted, WantedError, WantedFile, wanted
from roles.operations.files import put
from roles.operations.upload import upload
from roles.paths import WITH_MIRRORS, Paths


@deploy("Models")
def install(
    models: Sequence[Model],
    paths: Paths,
    mirrors: Roads,
    secrets: Mapping[str, str],
    here: Path,
    after: PyinfraCommand | None = None,
) -> None:
    """
    Bring store and links of the host to the manifest. The host is read in one command.

    + models: the host's models
    + paths: the host's paths
    + mirrors: where to fetch from
    + secrets: tokens by name, for sources that need one
    + here: from where relative paths of file: sources count
    + after: command to run when something changed, so that who uses the models sees it
    """
    try:
        goal = wanted(models, paths, mirrors, here)
    except WantedError as error:
        raise DeployError(str(error)) from error
    seen = host.get_fact(StoreState, paths=paths)
    refuse(goal, seen)
    for line in changes(goal, seen, paths):
        host.log(line)
    synced(
        name="Fetch and link models",
        goal=goal,
        seen=seen,
        paths=paths,
        request=lambda: manifest(goal, seen, paths, mirrors, secrets),
        after=after,
    )


def refuse(goal: Wanted, seen: Seen) -> None:
    """Stop, before anything is changed, where the role would have to touch what is not its own."""
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
        if file.push and (why := unsendable(file.push)):
            raise DeployError(f"models.{file.model}: {why}")


def changes(goal: Wanted, seen: Seen, paths: Paths) -> list[str]:
    """What a sync would do, one line for each model; empty if all is as it should be."""
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
    """The name of one file, or of the model that has several, and how many these are."""
    if len(files) == 1:
        return files[0].model, ""
    return files[0].model.partition("/")[0], f" {len(files)} files"


def _fetch(files: Sequence[WantedFile], seen: Seen) -> str:
    name, many = _named(files)
    sizes = [file.size for file in files if file.size is not None]
    size = amount(sum(sizes) if len(sizes) == len(files) else None)
    have = sum(seen.partials.get(file.sha256, 0) for file in files)
    return f"{name}: fetch{f'{many},' if many else ''} {size}{f', of which {amount(have)} are there' if have else ''}"


def _link(files: Sequence[WantedFile]) -> str:
    name, many = _named(files)
    if not many:
        return f"{name}: link {files[0].link}"
    return f"{name}: link{many} in {os.path.commonpath([file.link.parent for file in files])}"


@operation()
def synced(
    goal: Wanted, seen: Seen, paths: Paths, request: Callable[[], str], after: PyinfraCommand | None
) -> Generator[PyinfraCommand, None, None]:
    """
    Fetch what is missing and set the links.

    + goal: desired state
    + seen: the host's state, from `StoreState`
    + paths: the host's paths
    + request: makes the manifest; called late, because it may hold secrets
    + after: command to run at the end
    """
    if not changes(goal, seen, paths):
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
    if after:
        yield after
