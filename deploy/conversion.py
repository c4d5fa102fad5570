"""`sdfleet models convert`: convert a pickle to safetensors in a sandbox on a host."""

import json
import secrets
import shlex
from pathlib import Path, PurePosixPath

from deploy.connection.several import connect
from deploy.connection.ssh import HostError, Remote
from deploy.console import out
from deploy.environments import environment
from deploy.names import Application
from deploy.options import host_of
from deploy.torch import torch_builds
from inventory import lock
from inventory.errors import ConfigError, Problem
from inventory.load import load
from inventory.model import HostSettings
from roles.facts.gpu_probe import parse_probe, probe_command
from roles.managers import INIT_COMMAND, Manager, Supervisor, manager_of, needed_manager
from roles.models.sizes import format_bytes
from roles.models.state import TOOL
from roles.models.wanted import PICKLES, WantedError, WantedFile, wanted
from roles.operations.sandbox import shut_in
from roles.paths import Paths
from roles.programs import receiver, sent
from roles.settings import SettingError

PROGRAM = "convert_pickle"
CONVERT_SECONDS = 1200
MEMORY = 6 << 30
"""What torch itself and its work need."""
ADDRESSES = 24 << 30
"""The same where addresses are counted: CUDA's libraries and the file itself are mapped, and not all of it is used."""
GROWTH = 2
"""Limit of the output, as a multiple of the pickle's size: storages that tensors share are written once for each."""


def run(fleet: Path, name: str, host_name: str) -> None:
    """Convert model `name` on a host and print how to use the result. Raises ConfigError, HostError."""
    loaded = load(fleet)
    host = host_of(loaded, fleet, host_name)
    lock.require(loaded, [host_name], ["models"])
    file = _pickle(fleet, host, name)
    with connect([host]) as remotes:
        sha256, size = convert(remotes[host_name], file, name)
    path = host.paths.converted / f"{name}.safetensors"
    said = [f"Made {path} on {host_name}: {format_bytes(size)}, sha256 {sha256}."]
    said.append("Put this into its [[models]] table in place of the pickle, then: sdfleet lock")
    said.append(f'  source = "host:{host_name}/converted/{name}.safetensors"')
    if host_name not in host.mirrors.hosts:
        said.append(f"Other hosts can download it from {host_name} only if {host_name} is in the group cache.")
    out.print("\n".join(said))


def _pickle(fleet: Path, host: HostSettings, name: str) -> WantedFile:
    try:
        files = wanted(host.models, host.paths, host.mirrors).files
    except WantedError as error:
        raise ConfigError(str(fleet), [Problem("", line) for line in str(error).splitlines()]) from error
    pickles = {file.model: file for file in files if file.link.suffix in PICKLES}
    if name not in pickles:
        known = ", ".join(sorted(pickles)) or "none"
        raise ConfigError(str(fleet), [Problem(f"models.{name}", f"no pickle of {host.name}; its pickles are {known}")])
    return pickles[name]


def convert(remote: Remote, file: WantedFile, name: str) -> tuple[str, int]:
    """Put the safetensors file into the store, with a link in Paths.converted. Returns its sha256 and size in bytes."""
    paths = remote.host.paths
    manager = manager_of(needed_manager(remote.run(["sh", "-c", INIT_COMMAND]).out), paths)
    pickle, python = paths.blob(file.sha256), _python(remote)
    if remote.run(["test", "-f", str(pickle)], check=False).status:
        raise HostError(f"{name} is not downloaded yet; run: sdfleet apply", host=remote.name)
    made = paths.store / "partial" / f"convert-{secrets.token_hex(4)}"
    try:
        largest = GROWTH * int(remote.run(["stat", "-c", "%s", str(pickle)]).out) + (1 << 20)
        start = command(manager, paths, python, pickle, largest, made)
        remote.run(start, input=sent(PROGRAM).encode(), timeout=CONVERT_SECONDS)
        answer = remote.run(["sh", "-c", 'sha256sum < "$1"; stat -c %s "$1"', "sh", str(made)], timeout=CONVERT_SECONDS)
        sha256, _, size = answer.out.split()
        remote.run(["mv", "-f", str(made), str(paths.store / "partial" / sha256)])
    except HostError:
        remote.run(["rm", "-f", str(made)], check=False)
        raise
    manifest = {
        "store": str(paths.store),
        "folders": [str(paths.converted)],
        "files": [{"model": name, "sha256": sha256, "size": int(size), "sources": [], "suffix": ".safetensors"}],
        "links": {str(paths.converted / f"{name}.safetensors"): sha256},
    }
    # The output is untrusted: the store accepts it only if it is a valid safetensors file.
    tool = ["python3", str(paths.tools / TOOL), "-"]
    remote.run(tool, input=json.dumps(manifest).encode(), timeout=CONVERT_SECONDS)
    return sha256, int(size)


def command(
    manager: Manager, paths: Paths, python: PurePosixPath, pickle: PurePosixPath, largest: int, made: PurePosixPath
) -> list[str]:
    """The command that runs the converter (which comes on standard input) and writes its output to `made`.

    + largest: limit of the output in bytes
    """
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "", "HOME": "/tmp"}
    # Enough for the tensors and torch itself; no real model unpacks to more.
    memory = largest + (ADDRESSES if isinstance(manager, Supervisor) else MEMORY)
    rules = [
        "TasksMax=256",
        # The only parts of the data root that it sees are the environments and this one file.
        f"TemporaryFileSystem={paths.root}:ro",
        f"BindReadOnlyPaths={paths.envs}",
        f"BindReadOnlyPaths=-{paths.pythons}",
        f"BindReadOnlyPaths={pickle}",
    ]
    words = shut_in(manager, CONVERT_SECONDS, environment, memory, rules)
    start = shlex.join([*words, *receiver(pickle, python=python)])
    return ["bash", "-c", f"set -o pipefail; {start} | head -c {largest} > {shlex.quote(str(made))}"]


def _python(remote: Remote) -> PurePosixPath:
    """A Python with torch on the host. Raises HostError if there is none yet."""
    host = remote.host
    try:
        builds = torch_builds(host, parse_probe(remote.run(["sh", "-c", probe_command()]).out.splitlines())).builds
        roles = (Application.WEBUI, Application.COMFYUI, Application.TRAINER)
        environments = [environment(host, role, builds[role]) for role in roles if builds[role] and host.has(role)]
    except SettingError as error:
        raise HostError(f"{host.place(error.key)}: {error.says}", host=host.name) from error
    for each in environments:
        python = each.folder(host.paths) / "bin/python"
        if not remote.run(["test", "-x", str(python)], check=False).status:
            return python
    raise HostError("no Python with torch here; the roles webui, comfyui and trainer install one", host=host.name)
