"""`sdfleet models adopt`: take models that a host already has into its store, so that they are never downloaded."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import tomlkit

from deploy.connection.several import connect
from deploy.connection.ssh import HostError, Remote
from deploy.console import err, out
from deploy.onhost import adopt
from deploy.options import one_host
from inventory.load import load
from roles.models.config import FOLDERS, Model
from roles.models.sizes import format_bytes
from roles.models.sources.pasted import TENSORS, name_of
from roles.models.state import TOOL
from roles.models.tool import program
from roles.models.wanted import PICKLES, SUFFIXES

ADOPT_SECONDS = 4 * 3600
"""How long hashing a whole folder may take."""
HOW = {
    "there": "is in the store already",
    "shared": "shares its blocks with the store",
    "linked": "is the store's own file now",
    "copied": "was copied into the store",
}
Found = Mapping[str, Any]


def run(fleet: Path, host_name: str, folder: str, copy: bool) -> bool:
    """Adopt a folder and print the TOML for it.

    Returns whether every file is in the store now. Raises ConfigError, HostError.
    """
    host = one_host(fleet, host_name)
    with connect([host]) as remotes:
        answer = remotes[host_name].call(
            adopt,
            timeout=ADOPT_SECONDS,
            folder=folder,
            store=str(host.paths.store),
            suffixes=list(SUFFIXES),
            patterns=[list(pair) for pair in TENSORS],
            copy=copy,
        )
        if "error" in answer:
            raise HostError(str(answer["error"]), host=host_name)
        files = _sealed(remotes[host_name], answer["files"])
    for file in files:
        if "why" in file:
            err.print(f"{file['path']}: not adopted: {file['why']}")
        else:
            out.print(f"{file['path']}: {format_bytes(file['size'])}, {HOW[file['how']]}")
    known = {pin.sha256 for model in host.models for pin in getattr(model, "pins", ())}
    known |= {model.sha256 for model in host.models if model.sha256}
    new = [file for file in files if "how" in file and file["sha256"] not in known]
    if new:
        out.print("\nAdd this to fleet.toml. Hosts that have the file will not fetch it:\n")
        out.print(text(entries(new, [model for each in load(fleet).hosts.values() for model in each.models])))
    if not files:
        out.print(f"No model below {folder}: none of its files ends in {', '.join(SUFFIXES)}.")
    return not any("why" in file for file in files)


def _sealed(remote: Remote, files: Sequence[Found]) -> list[Found]:
    """`files`, with the new ones checked by the store's own program, as it checks every download."""
    paths = remote.host.paths
    new = {file["sha256"]: file for file in files if file.get("how") not in (None, "there")}
    if not new:
        return list(files)
    tool = paths.tools / TOOL
    remote.push({tool: program()})
    asked = [
        {"model": sha256, "sha256": sha256, "size": file["size"], "sources": [], "suffix": _suffix(file)}
        for sha256, file in new.items()
    ]
    request = json.dumps({"store": str(paths.store), "files": asked})
    done = remote.run(["python3", str(tool), "-"], input=request.encode(), timeout=ADOPT_SECONDS, check=False)
    events = [json.loads(line) for line in done.out.splitlines()]
    good = {event["model"] for event in events if event["event"] == "fetched"}
    said = {event["model"]: event["reason"] for event in events if event["event"] == "failed"}
    return [file if file.get("sha256") not in new or file["sha256"] in good else _refused(file, said) for file in files]


def _refused(file: Found, said: Mapping[str, str]) -> Found:
    return {"path": file["path"], "why": said.get(file["sha256"], "the store refused it")}


def _suffix(file: Found) -> str:
    return PurePosixPath(file["path"]).suffix.lower()


def entries(files: Sequence[Found], models: Sequence[Model]) -> Iterator[Model]:
    """One manifest entry per adopted file, under a name that no other model has."""
    taken = {(model.kind, model.name.lower()) for model in models}
    seen: set[str] = set()
    for file in files:
        if file["sha256"] in seen:
            continue
        seen.add(file["sha256"])
        path = PurePosixPath(file["path"])
        kind = _kind_of_place(path) or file["kind"] or "checkpoint"
        name = base = name_of(path.stem)
        number = 1
        while (kind, name.lower()) in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add((kind, name.lower()))
        yield Model(
            name=name,
            kind=kind,
            source=f"adopted:{name_of(path.stem)}{path.suffix.lower()}",
            sha256=file["sha256"],
            allow_pickle=path.suffix.lower() in PICKLES,
        )


def text(models: Iterator[Model]) -> str:
    tables = tomlkit.aot()
    for model in models:
        tables.append(tomlkit.item(model.model_dump(exclude_defaults=True, mode="json")))
    document = tomlkit.document()
    document["models"] = tables
    return tomlkit.dumps(document).strip()


def _kind_of_place(path: PurePosixPath) -> str:
    """The model kind of the WebUI folder in `path`; empty if there is none."""
    above = {part.lower() for part in path.parts[:-1]}
    return next((kind for kind, folder in FOLDERS.items() if folder.name.lower() in above), "")
