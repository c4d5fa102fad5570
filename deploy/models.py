"""`sdfleet models`: list, add, convert, adopt, check and prune models."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from deploy import adoption, conversion
from deploy.console import out, print_table, waiting
from deploy.options import DEFAULT_FILE, FleetFile, Limit, chosen
from deploy.ssh import connect, each
from deploy.stores import HostModels, answered, damaged_files, delete_files, ignored_loras, read_stores, unused_files
from inventory.edit import append_model
from inventory.error_messages import problem
from inventory.errors import DRIFT, ConfigError, Problem
from inventory.load import load
from roles.models.config import Model, is_kind
from roles.models.sizes import format_bytes
from roles.models.sources.pasted import entry_for
from roles.models.sources.web import HubClient
from training.options import CommandLine
from training.usable_path import foreign, usable_path

app = CommandLine(no_args_is_help=True, help="List, add, check and prune models.")

Only = Annotated[
    list[str] | None,
    typer.Option("--limit", "-l", "--host", metavar="HOST|GROUP", help="Limit to this host or group; repeat for more."),
]
AUTOV2 = 10
"""Digits of a sha256 that the WebUI and Civitai show."""


@app.command("list")
def show(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Only = None,
    sha256: Annotated[bool, typer.Option("--sha256", help="Show whole hashes instead of their beginning.")] = False,
) -> None:
    """List models: kind, size, hash as the WebUI shows it (AutoV2), source, and hosts."""
    hosts = chosen(fleet, limit)
    with connect(hosts) as remotes:
        looked = read_stores(remotes)
        ignored = answered(each({host.remote.name: host.remote for host in looked}, ignored_loras))
        lost = len(remotes) - len(looked)
    print_table(table(rows([model for host in hosts for model in host.models], looked, 64 if sha256 else AUTOV2)))
    for host in looked:
        for path, count in sorted(host.seen.unmanaged.items()):
            out.print(f"{host.remote.name}: {path} ({format_bytes(count)}) is not managed by sdfleet")
    for name, files in ignored.items():
        for file, why in files.items():
            out.print(f"{name}: {file}: {why}")
    raise typer.Exit(1 if lost else 0)


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
        # Paths in fleet.toml are relative to its folder; those typed here, to the working directory.
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
    if why := foreign(folder, "the host"):
        raise ConfigError("FOLDER", [Problem("", f"{folder!r} {why}")])
    raise typer.Exit(0 if adoption.run(fleet, host, folder, copy) else 1)


@app.command()
def prune(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete files from the stores that no model needs. Files put there by hand stay."""
    with connect(chosen(fleet, limit)) as remotes:
        found = answered(each(remotes, unused_files))
        for name, files in found.items():
            out.print(f"{name}: {len(files)} file(s), {format_bytes(sum(files.values()))}")
        if any(found.values()) and (yes or typer.confirm("Delete them?")):
            hosts = {name: remotes[name] for name, files in found.items() if files}
            done = answered(each(hosts, lambda host: unused_files(host, list(found[host.name]))))
            out.print(f"Deleted on {', '.join(done)}.")
            found = {name: files for name, files in found.items() if not files or name in done}
    raise typer.Exit(0 if len(found) == len(remotes) else 1)


@app.command()
def check(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    remove: Annotated[bool, typer.Option("--remove", help="Delete damaged files, so that apply fetches them.")] = False,
) -> None:
    """Read every file of the stores and compare its sha256 (exit code 3 if one is damaged)."""
    with connect(chosen(fleet, limit)) as remotes:
        with waiting(f"the hashes of {' '.join(remotes)}"):
            answers = each(remotes, damaged_files)
        found = answered(answers)
        for name, files in found.items():
            for path in files:
                out.print(f"{name}: {path} is damaged")
        if remove:
            bad = {name: remotes[name] for name in found}
            answered(each(bad, lambda remote: delete_files(remote, found[remote.name])))
        lost = len(remotes) - len(found)
    if any(found.values()):
        out.print("Next: " + ("sdfleet apply" if remove else "sdfleet models check --remove, then sdfleet apply"))
        raise typer.Exit(DRIFT)
    if lost:
        raise typer.Exit(1)
    out.print("Every file matches its sha256.")
