"""`sdfleet models convert`: safetensors from a pickle, made on a host where the pickle can do no harm."""

import json
import secrets
import shlex
from pathlib import Path, PurePosixPath

from deploy.console import out
from deploy.options import one_host
from deploy.ssh import HostError, Remote, connect
from deploy.torch import torch_builds
from inventory.errors import ConfigError, Problem
from inventory.model import HostSettings
from roles.facts.gpu_probe import probe_command, read
from roles.models.amount import amount
from roles.models.state import TOOL
from roles.models.wanted import PICKLES, WantedError, WantedFile, wanted
from roles.onhost import source
from roles.operations.sandbox import sandboxed
from roles.paths import Paths
from roles.trainer.release import release as trainer_release
from roles.webui.release import release_of

PROGRAM = "convert_pickle"
CONVERT_SECONDS = 1200
MEMORY = 6 << 30
GROWTH = 2
"""How many times the pickle's size its tensors may take: one that shares storages repeats them when it is written."""


def run(fleet: Path, name: str, host_name: str) -> None:
    """Convert model `name` on a host and say how to use the result. Raises ConfigError, HostError."""
    host = one_host(fleet, host_name)
    file = _pickle(fleet, host, name)
    with connect([host]) as remotes:
        sha256, size = convert(remotes[host_name], file, name)
    path = host.paths.converted / f"{name}.safetensors"
    said = [f"Made {path} on {host_name}: {amount(size)}, sha256 {sha256}."]
    said.append("Put this into its [[models]] table in place of the pickle, then: sdfleet lock")
    said.append(f'  source = "host:{host_name}/converted/{name}.safetensors"')
    if host_name not in host.mirrors.hosts:
        said.append(f"Other hosts get it from {host_name} only if that is in the group cache.")
    out.print("\n".join(said), soft_wrap=True)


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
    """sha256 and size of the safetensors file, which is then in the store and named in Paths.converted."""
    paths = remote.host.paths
    pickle, python = paths.blob(file.sha256), _python(remote)
    if remote.run(["test", "-f", str(pickle)], check=False).status:
        raise HostError(f"{remote.name}: {name} is not there yet; run: sdfleet apply")
    made = paths.store / "partial" / f"convert-{secrets.token_hex(4)}"
    try:
        largest = GROWTH * int(remote.run(["stat", "-c", "%s", str(pickle)]).out) + (1 << 20)
        start = command(paths, python, pickle, largest, made)
        remote.run(start, input=source(PROGRAM).encode(), timeout=CONVERT_SECONDS)
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
    # What the unit printed is a stranger's work: it gets a name only as a safetensors file without fault.
    tool = ["python3", str(paths.tools / TOOL), "-"]
    remote.run(tool, input=json.dumps(manifest).encode(), timeout=CONVERT_SECONDS)
    return sha256, int(size)


def command(paths: Paths, python: PurePosixPath, pickle: PurePosixPath, largest: int, made: PurePosixPath) -> list[str]:
    """What runs the converter, whose text comes on standard input, on `pickle`, and puts what it prints into `made`.

    + largest: bytes after which it is cut off
    """
    rules = [
        # Its tensors, and torch itself; what unpacks to more is none of the models that people share.
        f"MemoryMax={largest + MEMORY}",
        "TasksMax=256",
        "Environment=PYTHONDONTWRITEBYTECODE=1 CUDA_VISIBLE_DEVICES= HOME=/tmp",
        # Of the data root it sees the environments and this one file.
        f"TemporaryFileSystem={paths.root}:ro",
        f"BindReadOnlyPaths={paths.envs}",
        f"BindReadOnlyPaths=-{paths.pythons}",
        f"BindReadOnlyPaths={pickle}",
    ]
    start = shlex.join([*sandboxed(CONVERT_SECONDS, *rules), str(python), "-I", "-", str(pickle)])
    return ["bash", "-c", f"set -o pipefail; {start} | head -c {largest} > {shlex.quote(str(made))}"]


def _python(remote: Remote) -> PurePosixPath:
    """A Python of the host that has torch. Raises HostError if there is none yet."""
    host, environments = remote.host, []
    builds = torch_builds(host, read(remote.run(["sh", "-c", probe_command()]).out.splitlines()))
    if host.has("webui") and builds.webui:
        environments.append(release_of(host.webui, builds.webui).environment)
    if host.has("trainer") and builds.trainer:
        environments.append(trainer_release(host.trainer, builds.trainer).environment)
    for environment in environments:
        python = environment.folder(host.paths) / "bin/python"
        if not remote.run(["test", "-x", str(python)], check=False).status:
            return python
    raise HostError(f"{host.name}: there is no Python with torch; it comes with the roles webui and trainer")
