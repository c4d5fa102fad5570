"""Provisioned hosts, kept as file-system layers over the root file system, so that labs can start from them.

Provisioning takes a minute; booting a provisioned host takes seconds. A scene defines how hosts are provisioned. The
first lab that uses it provisions the hosts; their writable layers, the upstreams' content and the fleet's files are
kept in the cache folder under the hash of everything that made them. Later labs put their own layers over these.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from inventory.errors import SdfleetError
from lab import box, fleet, locks, rootfs
from lab.containers import data_of
from lab.files import delete, locked
from lab.handle import Lab
from lab.lifecycle import Say, quiet
from lab.network import container_name, host_name
from lab.orders import Order, give
from lab.state import HostState, Rented, cache_folder

PROJECT = Path(__file__).resolve().parents[1]
CODE = ("deploy", "inventory", "lab", "roles", "templates", "training")
KEPT_BYTES = 8 << 30
"""Limit for all layers together; the one that was used last is always kept."""
OFF_SECONDS = 60
BOOTED_SECONDS = 240


@dataclass(frozen=True)
class Scene:
    """Hosts as they are after `prepare`."""

    name: str
    hosts: int
    prepare: Callable[[Lab, Path], None]
    """Provisions the hosts of a lab with all upstreams; writes fleet.toml and the files beside it to the folder."""
    made_by: tuple[Path, ...]
    """Further source files that the provisioned hosts depend on, besides the project's own code."""
    containers: tuple[Rented, ...] = ()
    """Containers beside the hosts. Their data disks are kept too; each lab gives them a new password."""


@contextlib.contextmanager
def attached(scene: Scene, folder: Path, hosts: int | None = None, say: Say = quiet) -> Iterator[Lab]:
    """A lab with the scene's provisioned hosts, for the length of a `with` block.

    + folder: for its fleet.toml and the files beside it
    + hosts: if not as many as the scene has; additional ones are copies of its first, under their own names
    Raises SdfleetError if the machine cannot run a lab, and the errors of the scene's `prepare`.
    """
    with _layer(scene, say) as layer:
        if layer is None:
            with box.attached(hosts or scene.hosts, say, containers=scene.containers) as running:
                scene.prepare(running, folder)
                yield running
            return
        shutil.copytree(layer / "folder", folder, symlinks=True, dirs_exist_ok=True)
        count = hosts or scene.hosts
        names = [host_name(number) for number in range(1, count + 1)]
        names += [container_name(number) for number in range(1, len(scene.containers) + 1)]
        below = [_of_host(layer, name) for name in names]
        with box.attached(count, say, below, scene.containers) as running:
            shutil.copytree(layer / "upstreams", running.folder.upstreams, symlinks=True, dirs_exist_ok=True)
            for file in folder.glob("*.toml"):
                fleet.rebind(running, file)
            _wait_until_booted(running)
            yield running


def _of_host(layer: Path, name: str) -> Path:
    own = layer / "hosts" / name
    return own if own.is_dir() else layer / "hosts/h1"


def _wait_until_booted(lab: Lab) -> None:
    """Wait until every enabled service has started or failed: they were running after the first apply."""
    with ThreadPoolExecutor(len(lab.hosts)) as pool:
        for host in (host for host in lab.hosts if not host.rented):
            pool.submit(lab.ssh, host.name, "systemctl is-system-running --wait", BOOTED_SECONDS)


@contextlib.contextmanager
def _layer(scene: Scene, say: Say) -> Iterator[Path | None]:
    """The scene's layer, locked against deletion; None if this machine's cache folder cannot hold one."""
    folder = folder_of_layers()
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{scene.name}-{key(scene, rootfs.ensure(say))}"
    none = final.with_suffix(".none")
    with final.with_suffix(".lock").open("w") as used:
        fcntl.flock(used, fcntl.LOCK_SH)
        with locked(final.with_suffix(".making")):
            if not final.is_dir() and not none.exists():
                say(f"Provisioning {scene.name} once in {final} ...")
                try:
                    _make(scene, final, say)
                except Unkept as error:
                    none.touch()
                    say(f"Hosts are not kept here; each lab provisions its own. {error}; to try again, delete {none}")
        if final.is_dir():
            os.utime(final)
            with locked(folder / "pruning"):
                _prune(folder, final)
        yield final if final.is_dir() else None


class Unkept(Exception):
    """The file system of the cache folder, or that of labs, cannot hold an overlay's upper layer."""


def folder_of_layers() -> Path:
    """The folder of layers; may be deleted while no lab runs."""
    return cache_folder() / "layers"


def key(scene: Scene, tree: Path) -> str:
    """The hash of all that provisioned hosts depend on: code, available packages, root file system, the scene."""
    found = hashlib.sha256(repr((scene.name, scene.hosts, scene.containers, tree.name, locks.offered())).encode())
    files = [file for name in CODE for file in (PROJECT / name).rglob("*") if file.is_file()]
    for file in sorted({*files, *scene.made_by}):
        if "__pycache__" not in file.parts:
            found.update(f"{file.relative_to(PROJECT)} {file.stat().st_size}\n".encode() + file.read_bytes())
    return found.hexdigest()[:16]


def _make(scene: Scene, final: Path, say: Say) -> None:
    part = final.with_suffix(".part")
    delete(part)
    (part / "folder").mkdir(parents=True)
    (part / "hosts").mkdir()
    try:
        with box.attached(scene.hosts, say, containers=scene.containers) as running:
            scene.prepare(running, part / "folder")
            shutil.copytree(running.folder.upstreams, part / "upstreams", symlinks=True)
            for host in running.hosts:
                _keep(running, host, part / "hosts" / host.name)
        part.rename(final)
    finally:
        delete(part)


def _keep(lab: Lab, host: HostState, place: Path) -> None:
    """Shut the host down cleanly and move its writable layer to `place`, and a container's data disk beside it."""
    if host.rented:
        lab.stop(host.name)
    else:
        lab.ssh(host.name, "systemctl poweroff")
    if not lab.wait_until_off(host.name, OFF_SECONDS):
        raise SdfleetError(f"host {host.name} does not switch off; see {lab.folder.logs / host.name}.console")
    give(lab.folder, Order(what="keep", host=host.name))
    folder = lab.folder.hosts / host.name
    if not (folder / "upper").is_dir():  # the disks are in memory, because the file system does not support overlays
        raise Unkept("the file system of labs does not support overlays")
    _move(folder / "upper", place)
    if host.rented:
        _move(folder / "data", data_of(place))


def _move(tree: Path, place: Path) -> None:
    # To another file system mv copies, with hard links, devices (a deleted file is one) and the overlay's attributes.
    done = subprocess.run(["mv", "--no-target-directory", tree, place], capture_output=True, text=True)
    if done.returncode:
        raise Unkept(done.stderr.strip())


def _prune(folder: Path, used: Path) -> None:
    """Delete the least recently used layers until the rest fits, but none that a lab uses."""
    layers = [path for path in folder.iterdir() if path.is_dir() and path != used and not path.suffix]
    room = KEPT_BYTES - _size(used)
    for layer in sorted(layers, key=lambda path: path.stat().st_mtime, reverse=True):
        room -= _size(layer)
        if room < 0:
            _delete(layer)
    for half in (*folder.glob("*.part"), *folder.glob("*.gone")):
        _delete(half)


def _delete(layer: Path) -> None:
    """Rename and delete it, unless a lab uses it or makes it."""
    with layer.with_suffix(".lock").open("w") as handle, contextlib.suppress(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = layer.with_suffix(".gone")
        if layer != gone:
            delete(gone)
            layer.rename(gone)
        delete(gone)
        layer.with_suffix(".size").unlink(missing_ok=True)


def _size(layer: Path) -> int:
    """Bytes on disk; computed once and saved beside the layer."""
    note = layer.with_suffix(".size")
    if not note.exists():
        counted = subprocess.run(["du", "-s", "-B1", layer], capture_output=True, text=True, check=True).stdout
        note.write_text(counted.split()[0])
    return int(note.read_text())
