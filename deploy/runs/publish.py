"""Publish a run's LoRA to what draws on hosts, through their content store; without a restart."""

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from deploy.connection.ssh import HostError, Remote
from deploy.onhost import published
from inventory.errors import SdfleetError
from inventory.model import HostSettings
from roles.models.config import FOLDERS
from roles.webui.flavors import FLAVORS
from training.digests import sha256_of
from training.run import record_format


def result(folder: Path, state: str, named: str | None) -> Path:
    """The file of a fetched run to publish: its output `named`, else its final LoRA.

    + state: of the run, from its host
    Raises SdfleetError if no file is named and the run has not finished.
    """
    run, files = folder.name, sorted((folder / "output").glob("*.safetensors"))
    have = f"It has written: {', '.join(file.name for file in files)}." if files else "It has written no LoRA yet."
    if named is not None:
        found = next((file for file in files if named in (file.name, file.stem)), None)
        if found is None:
            raise SdfleetError(f"{run} has no file {named}. {have}")
        return found
    if state != "finished":
        choice = " Publish one of them with --file, or let the run finish." if files else ""
        raise SdfleetError(f"{run} has not finished: it is {state}. {have}{choice}")
    record = record_format.read_record(folder / "run.json") or {}
    final = folder / "output" / str(record.get("file"))
    if final.is_file():
        return final
    if len(files) != 1:
        raise SdfleetError(f"The record of {run} does not say which file is its result. {have} Choose with --file.")
    return files[0]


def not_running(host: HostSettings, refreshed: Collection[str]) -> list[str]:
    """Names of the services that draw on a host, without those that could be told."""
    return [name for name in host.drawing_ports if name not in refreshed]


def keeping(host: HostSettings, answer: Mapping[str, Any]) -> list[str]:
    """Names of the services that draw with the file which had this name before, until they are restarted.

    + answer: of `publish`
    """
    keeps = host.has("webui") and FLAVORS[host.webui.flavor].keeps_loras
    return [name for name in answer["refreshed"] if name == "webui" and keeps and answer["replaced"]]


def publish(remote: Remote, run: str, file: Path, name: str) -> dict[str, Any]:
    """Put `file` into the host's store, link it as LoRA `name`, and have what draws there read it.

    Publishing the same file again changes nothing. Returns {"changed": bool, "replaced": whether another file had the
    name, "refreshed": names of services}; raises HostError.
    """
    paths = remote.host.paths
    sha256 = sha256_of(file)
    incoming = paths.store / f".incoming-{run}"
    blob, link = paths.blob(sha256), paths.data("webui") / FOLDERS["lora"] / f"{name}{file.suffix}"
    if remote.run(["test", "-e", str(blob)], check=False).status:
        try:
            remote.push({incoming: file})
        except HostError:
            # A full disk or a lost connection: delete the incomplete file.
            with contextlib.suppress(HostError):
                remote.run(["rm", "-f", str(incoming)], check=False)
            raise
    answer: dict[str, Any] = remote.call(
        published,
        run=run,
        sha256=sha256,
        incoming=str(incoming),
        blob=str(blob),
        link=str(link),
        manifest=str(paths.published),
        ports=remote.host.drawing_ports,
    )
    if "error" in answer:
        raise HostError(str(answer["error"]), host=remote.name)
    return answer
