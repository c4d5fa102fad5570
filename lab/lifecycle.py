"""Start a lab, find it, stop it, and clean up after one that was killed."""

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from inventory.errors import SdfleetError
from lab import rootfs
from lab.files import delete
from lab.handle import Kinds, Lab
from lab.hosts import remove_cgroup
from lab.launch import STOP_SECONDS, Launch, Plan
from lab.network import MAX_HOSTS
from lab.state import PROC, LabFolder, Rented, Service, State, default_folder, labs_folder

ATTACHED = "attached-"
"""Prefix of folders that are deleted with their labs."""

Say = Callable[[str], None]


def quiet(text: str) -> None:
    """Say nothing."""


def up(
    hosts: int = 1,
    folder: Path | None = None,
    services: Sequence[Service] = (),
    say: Say = quiet,
    gpu_builds: bool = False,
    containers: Sequence[Rented] = (),
    release: str | None = None,
) -> Lab:
    """Start a lab that runs until `down`; a running one with the same hosts and containers is returned as it is.

    `services` run inside the lab's network as long as the lab; `say` gets a sentence when there is something to wait
    for; `gpu_builds` makes the package index offer torch's builds for GPUs too, which the locks of the real
    applications need; `release` is Debian's, for all (default: `rootfs.default_release`). Raises SdfleetError if the
    machine cannot run a lab, or if one with others runs.
    """
    lab = LabFolder(folder or default_folder())
    wanted = (hosts, tuple(containers), release or rootfs.default_release())
    if running := status(lab.path):
        if running.kinds == wanted:
            return running
        raise SdfleetError(f"a lab with {_described(*running.kinds)} is running; stop it first: sdfleet lab down")
    launch = _launch(lab, wanted, services, say, gpu_builds)
    launch.release()
    return launch.lab


@contextlib.contextmanager
def attached(
    hosts: int = 1,
    folder: Path | None = None,
    services: Sequence[Service] = (),
    say: Say = quiet,
    layers: Sequence[Path] = (),
    containers: Sequence[Rented] = (),
    release: str | None = None,
) -> Iterator[Lab]:
    """A lab for the length of a `with` block; it also ends if this process is killed.

    Takes the arguments of `up`, and the layer below each host (see `lab.layers`); without `folder` the lab gets a new
    one, which is deleted at the end.
    """
    path = folder or new_folder()
    kinds = (hosts, tuple(containers), release or rootfs.default_release())
    launch = _launch(LabFolder(path), kinds, services, say, layers=layers)
    try:
        yield launch.lab
    finally:
        launch.close()
        _clean(launch.lab.folder, launch.lab.state)
        if folder is None:
            delete(path)


def new_folder() -> Path:
    """A unique name for the folder of an attached lab."""
    return labs_folder() / f"{ATTACHED}{os.getpid()}-{secrets.token_hex(3)}"


def status(folder: Path | None = None) -> Lab | None:
    """The running lab in `folder` (default: the user's default lab); None if there is none."""
    lab = LabFolder(folder or default_folder())
    state = lab.read()
    return Lab(lab, state) if state and state.supervisor and state.alive and not lab.ending else None


def down(folder: Path | None = None) -> bool:
    """Stop the lab in `folder`, even a broken one, and delete its hosts but not its logs; False if there was none."""
    lab = LabFolder(folder or default_folder())
    with lab.locked():
        state = lab.read()
        if state:
            lab.end()  # first: if this is interrupted, the lab is not taken for one that runs
            _stop(state)
            _clean(lab, state)
        _clean_stale()
    return state is not None


def _launch(
    lab: LabFolder,
    kinds: Kinds,
    services: Sequence[Service],
    say: Say,
    gpu_builds: bool = False,
    layers: Sequence[Path] = (),
) -> Launch:
    hosts, containers, release = kinds
    if not 1 <= hosts + len(containers) <= MAX_HOSTS:
        raise SdfleetError(f"a lab has 1 to {MAX_HOSTS} hosts, not {hosts + len(containers)}")
    rootfs.check_machine()
    tree = rootfs.ensure(say, rootfs.Image(release))
    container_tree = rootfs.ensure(say, rootfs.Image(release, rootfs.CONTAINER_PACKAGES)) if containers else None
    plan = Plan(hosts, tuple(services), tree, gpu_builds, tuple(layers), containers, container_tree, release)
    with lab.locked():
        _clean_stale()
        state = lab.read()
        if state and state.alive and not lab.ending:
            raise SdfleetError(f"another lab is running in {lab.path}; stop it first: sdfleet lab down")
        if state:
            _stop(state)
            _clean(lab, state)
        lab.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return Launch(lab, plan)
        except BaseException:
            if state := lab.read():
                _clean(lab, state)
            raise


def _described(hosts: int, containers: Sequence[Rented], release: str) -> str:
    """The machines of a lab in words, e.g. "2 hosts (bookworm)"."""
    others = f" and {len(containers)} containers" if containers else ""
    return f"{hosts} hosts{others} ({release})"


def _stop(state: State) -> None:
    if state.supervisor is None:
        return
    state.supervisor.signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while state.supervisor.alive:
        if time.monotonic() > deadline:
            state.supervisor.signal(signal.SIGKILL)
        time.sleep(0.02)


def _clean(lab: LabFolder, state: State) -> None:
    """Delete the files of a lab that no longer runs; its mounts and its network ended with its processes."""
    for mount in cgroup2_mounts():
        remove_cgroup(mount / state.cgroup)
    lab.clear()


def _clean_stale() -> None:
    """Clean up after killed labs in the user's folder of labs."""
    for path in labs_folder().glob("*/"):
        lab = LabFolder(path)
        state = lab.read()
        if state and not state.alive:
            _clean(lab, state)
        if path.name.startswith(ATTACHED) and not lab.state_file.exists():
            delete(path)


def cgroup2_mounts() -> list[Path]:
    """The mount point of this machine's cgroup v2 tree."""
    mounts = (line.split() for line in (PROC / "self/mounts").read_text().splitlines())
    return [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
