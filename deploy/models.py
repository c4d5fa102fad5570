"""`sdfleet models`: list, add, convert, adopt, check and prune models."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import typer
from pydantic import ValidationError
from rich.table import Table

from deploy import adoption, conversion
from deploy.connection.several import connect, each
from deploy.console import out, print_table, waiting
from deploy.options import chosen, pinned
from deploy.stores import HostModels, answered, damaged_files, delete_files, ignored_loras, read_stores, unused_files
from inventory.edit import append_model
from inventory.error_messages import problem
from inventory.errors import DRIFT, ConfigError, Problem
from inventory.load import load
from roles.models.config import Model, is_kind
from roles.models.sizes import format_bytes
from roles.models.sources.pasted import entry_for
from roles.models.sources.web import HubClient
from training.usable_path import foreign, usable_path

AUTOV2 = 10
"""Digits of a sha256 that the WebUI and Civitai show."""


def show(fleet: Path, limit: list[str] | None, sha256: bool) -> None:
    hosts = pinned(fleet, limit, ("models",))
    with connect(hosts) as remotes:
        with waiting(f"the models of {len(hosts)} host(s)"):
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


def add(pasted: str, fleet: Path, name: str | None, kind: str | None, sha256: str | None) -> None:
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


def convert(name: str, host: str, fleet: Path) -> None:
    conversion.run(fleet, name, host)


def adopt_folder(host: str, folder: str, fleet: Path, copy: bool) -> None:
    if why := foreign(folder, "the host"):
        raise ConfigError("FOLDER", [Problem("", f"{folder!r} {why}")])
    raise typer.Exit(0 if adoption.run(fleet, host, folder, copy) else 1)


def prune(fleet: Path, limit: list[str] | None, yes: bool) -> None:
    with connect(pinned(fleet, limit, ("models",))) as remotes:
        with waiting(f"the stores of {len(remotes)} host(s)"):
            found = answered(each(remotes, unused_files))
        for name, files in found.items():
            out.print(f"{name}: {len(files)} file(s), {format_bytes(sum(files.values()))}")
        if any(found.values()) and (yes or typer.confirm("Delete them?")):
            hosts = {name: remotes[name] for name, files in found.items() if files}
            with waiting(f"the deletion on {' '.join(hosts)}"):
                done = answered(each(hosts, lambda host: unused_files(host, list(found[host.name]))))
            out.print(f"Deleted on {', '.join(done)}.")
            found = {name: files for name, files in found.items() if not files or name in done}
    raise typer.Exit(0 if len(found) == len(remotes) else 1)


def check(fleet: Path, limit: list[str] | None, remove: bool) -> None:
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
