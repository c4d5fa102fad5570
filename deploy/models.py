"""`sdfleet models`: list, add, convert, adopt, check and prune models."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError
from rich.table import Table

from deploy import adoption, conversion
from deploy.console import err, out, print_table, styled, waiting
from deploy.onhost import unused
from deploy.options import DEFAULT_FILE, FleetFile, Limit, chosen
from deploy.ssh import HostError, Remote, connect, each
from inventory.edit import append_model
from inventory.errors import ConfigError, Problem, SdfleetError
from inventory.load import load
from inventory.model import HostSettings
from inventory.sentences import problem
from roles.models.config import FOLDERS, Model, is_kind
from roles.models.sizes import format_bytes
from roles.models.sources.pasted import entry_for
from roles.models.sources.web import HubClient
from roles.models.state import StoreContents, parse_store, store_command
from roles.models.wanted import Wanted, WantedError, wanted
from training.usable_path import usable_path

app = typer.Typer(no_args_is_help=True, help="List, add, check and prune models.")

T = TypeVar("T")
Only = Annotated[
    list[str] | None,
    typer.Option("--limit", "-l", "--host", metavar="HOST|GROUP", help="Limit to this host or group; repeat for more."),
]
LOOK_SECONDS = 60
HASH_SECONDS = 4 * 3600
"""How long hashing a whole store may take; a slow disk reads 2 TB in that time."""
AUTOV2 = 10
"""Digits of a sha256 that the WebUI and Civitai show."""
CHANGED = 3
"""Exit code for drift."""


@dataclass(frozen=True)
class HostModels:
    """The models that a host should have, and those that it has."""

    remote: Remote
    goal: Wanted
    seen: StoreContents

    def has(self, kind: str, name: str) -> bool:
        files = [file for file in self.goal.files if file.of(kind, name)]
        return bool(files) and all(self.seen.has(file) for file in files)


@app.command("list")
def show(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Only = None,
    sha256: Annotated[bool, typer.Option("--sha256", help="Show whole hashes instead of their beginning.")] = False,
) -> None:
    """List models: kind, size, hash as the WebUI shows it (AutoV2), source, and hosts."""
    hosts = chosen(fleet, limit)
    with connect(hosts) as remotes:
        looked = _look(remotes)
        ignored = _answers(each({host.remote.name: host.remote for host in looked}, _ignored))
        lost = len(remotes) - len(looked)
    print_table(table(rows([model for host in hosts for model in host.models], looked, 64 if sha256 else AUTOV2)))
    for host in looked:
        for path, count in sorted(host.seen.unmanaged.items()):
            out.print(f"{host.remote.name}: {path} ({format_bytes(count)}) is not managed by sdfleet")
    for name, files in ignored.items():
        for file, why in files.items():
            out.print(f"{name}: {file}: {why}")
    raise typer.Exit(1 if lost else 0)


def _ignored(remote: Remote) -> dict[str, str]:
    """Files in the WebUI's Lora folder that it ignores -> why. Forks of the WebUI read more key names."""
    host = remote.host
    if not host.has("webui") or host.webui.flavor != "a1111":
        return {}
    folder, store = host.paths.data("webui") / FOLDERS["lora"], host.paths.store
    answer = remote.start("lora_keys", folder, store).out
    try:
        found: dict[str, str] = json.loads(answer)
    except ValueError as error:
        raise HostError(f"{host.name}: expected JSON, got {answer[:200]!r}") from error
    return found


def table(found: Iterable[Sequence[str]]) -> Table:
    """The list of models as a table."""
    made = Table(*("model", "kind", "size", "hash", "source", "hosts"), box=None, pad_edge=False)
    for row in found:
        made.add_row(*row)
    return made


def rows(models: Sequence[Model], looked: Sequence[HostModels], digits: int) -> Iterator[tuple[str, ...]]:
    """One row per model: name, kind, size, `digits` of its hash, source, hosts that have all of its files."""
    for (name, kind), model in sorted({(model.name, model.kind): model for model in models}.items()):
        files = {file.sha256: file for host in looked for file in host.goal.files if file.of(kind, name)}
        sizes = [file.size for file in files.values()]
        size = format_bytes(None if None in sizes or not sizes else sum(size or 0 for size in sizes))
        digest = next(iter(files))[:digits] if len(files) == 1 else f"{len(files) or 'unknown'} files"
        having = [host.remote.name for host in looked if host.has(kind, name)]
        yield name, kind, size, digest, model.source, " ".join(having) or "none"


@app.command()
def add(
    pasted: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="URL of a page or file, Civitai AIR, sha256 or AutoV2 hash, or a source (hf:...)."
        ),
    ],
    fleet: FleetFile = DEFAULT_FILE,
    name: Annotated[str | None, typer.Option(help="Name of the model. Default: its name at the source.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Kind of the model, if neither its source nor its file says.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Expected sha256.")] = None,
) -> None:
    """Add a model to fleet.toml from a URL, an AIR, a hash or a source."""
    loaded = load(fleet)
    try:
        known = is_kind(kind) if kind else None
    except ValueError as error:
        raise ConfigError("--kind", [Problem("", str(error))]) from error
    mirrors = next(iter(loaded.hosts.values())).direct
    try:
        model = entry_for(pasted, HubClient(mirrors, loaded.secrets.read_all()), name, known, sha256)
    except ValidationError as error:
        raise ConfigError(pasted, [problem(detail, Model, "models", ()) for detail in error.errors()]) from error
    except ValueError as error:
        raise ConfigError(pasted, [Problem("", str(error))]) from error
    if model.source.startswith("file:"):
        # Paths in fleet.toml count from its folder, what is typed here from the working directory.
        path = usable_path(model.source.removeprefix("file:")).absolute()
        model = model.model_copy(update={"source": f"file:{path}"})
    append_model(loaded.file, model)
    out.print(f"Added {model.kind} {model.name} from {model.source}. Next: sdfleet lock")


@app.command()
def convert(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model whose file is a pickle.")],
    host: Annotated[str, typer.Option(help="Host that has the model, in the group webui or train (it needs torch).")],
    fleet: FleetFile = DEFAULT_FILE,
) -> None:
    """Convert a pickle to safetensors on a host, in a sandbox."""
    conversion.run(fleet, name, host)


@app.command(name="adopt")
def adopt_folder(
    host: Annotated[str, typer.Argument(metavar="HOST", help="Host that has the files.")],
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder on the host, searched with its subfolders.")],
    fleet: FleetFile = DEFAULT_FILE,
    copy: Annotated[bool, typer.Option("--copy", help="Copy files that can be neither shared nor linked.")] = False,
) -> None:
    """Add model files that a host already has to its store, and print their entries for fleet.toml.

    They are hashed where they are and never fetched again; nothing in the folder is changed.

    The exit code is 1 if a file could not be taken.
    """
    raise typer.Exit(0 if adoption.run(fleet, host, folder, copy) else 1)


@app.command()
def prune(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete files from the stores that no model needs. Files put there by hand stay."""
    with connect(chosen(fleet, limit)) as remotes:
        found = _answers(each(remotes, _unused))
        for name, files in found.items():
            out.print(f"{name}: {len(files)} file(s), {format_bytes(sum(files.values()))}")
        if any(found.values()) and (yes or typer.confirm("Delete them?")):
            hosts = {name: remotes[name] for name, files in found.items() if files}
            done = _answers(each(hosts, lambda host: _unused(host, list(found[host.name]))))
            out.print(f"Deleted on {', '.join(done)}.")
            found = {name: files for name, files in found.items() if not files or name in done}
    raise typer.Exit(0 if len(found) == len(remotes) else 1)


def _unused(remote: Remote, delete: Sequence[str] = ()) -> dict[str, int]:
    """Files in the store that neither the manifest nor a link on the host needs -> bytes. Deletes those in `delete`."""
    host = remote.host
    places = [host.paths.root / "data", host.paths.hub, host.paths.converted]
    answer = remote.call(
        unused,
        timeout=LOOK_SECONDS,
        store=str(host.paths.store),
        places=[str(place) for place in places],
        needed=[file.sha256 for file in _goal(host).files],
        delete=list(delete),
    )
    if "error" in answer:
        raise HostError(f"{remote.name}: {answer['error']}")
    files: dict[str, int] = answer["files"]
    return files


def _goal(host: HostSettings) -> Wanted:
    """The models that the host should have. Raises SdfleetError."""
    try:
        return wanted(host.models, host.paths, host.mirrors)
    except WantedError as error:
        raise SdfleetError(str(error)) from error


def _delete(remote: Remote, files: dict[PurePosixPath, int]) -> None:
    """Delete files of a store; fails while a sync runs."""
    if files:
        lock = str(remote.host.paths.store / "lock")
        remote.run(["flock", "--nonblock", lock, "rm", "-f", "--", *map(str, files)], timeout=LOOK_SECONDS)


@app.command()
def check(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    remove: Annotated[bool, typer.Option("--remove", help="Delete damaged files, so that apply fetches them.")] = False,
) -> None:
    """Read every file of the stores and compare its sha256 (exit code 3 if one is damaged)."""
    with connect(chosen(fleet, limit)) as remotes:
        with waiting(f"the hashes of {' '.join(remotes)}"):
            answers = each(remotes, _damaged)
        found = _answers(answers)
        for name, files in found.items():
            for path in files:
                out.print(f"{name}: {path} is damaged")
        if remove:
            bad = {name: remotes[name] for name in found}
            _answers(each(bad, lambda remote: _delete(remote, dict.fromkeys(found[remote.name], 0))))
        lost = len(remotes) - len(found)
    if any(found.values()):
        out.print("Next: " + ("sdfleet apply" if remove else "sdfleet models check --remove, then sdfleet apply"))
        raise typer.Exit(CHANGED)
    if lost:
        raise typer.Exit(1)
    out.print("Every file matches its sha256.")


def _damaged(remote: Remote) -> list[PurePosixPath]:
    folder = remote.host.paths.store / "sha256"
    place = shlex.quote(str(folder))
    script = f"test -d {place} && find {place} -type f -exec sha256sum -z {{}} + ; true"
    lines = remote.run(["sh", "-c", script], timeout=HASH_SECONDS).out.split("\0")[:-1]
    hashed = {PurePosixPath(path): digest for digest, _, path in (line.partition("  ") for line in lines)}
    return sorted(path for path, digest in hashed.items() if path.name != digest)


def _look(remotes: dict[str, Remote]) -> list[HostModels]:
    """Every host's models, with one command per host. Prints an error for a host that cannot be read."""

    def look(remote: Remote) -> HostModels:
        host = remote.host
        answer = remote.run(["sh", "-c", store_command(host.paths)], timeout=LOOK_SECONDS)
        seen = parse_store(answer.out.splitlines(), host.paths)
        if seen.damaged:
            raise HostError(f"{remote.name}: {seen.damaged}")
        return HostModels(remote, _goal(host), seen)

    return list(_answers(each(remotes, look)).values())


def _answers(answers: Mapping[str, T | HostError]) -> dict[str, T]:
    """The answers of the hosts; prints the errors of the others. Raises SdfleetError if no host answered."""
    for answer in answers.values():
        if isinstance(answer, HostError):
            err.print(styled("[bold red]error[/] {}", answer))
    good = {name: answer for name, answer in answers.items() if not isinstance(answer, HostError)}
    if answers and not good:
        raise SdfleetError("no host answered")
    return good
