"""The contents of a ComfyUI release, computed from the settings alone."""

from pathlib import Path, PurePosixPath

from roles.comfyui.config import Comfyui
from roles.operations.application import CODE, Environment, Release, ReleaseError, pinned_commit
from roles.operations.locks import CPU, LockError, builds, lock_text
from roles.operations.sources import Source

LOCKS = Path(__file__).resolve().parent / "locks"
CUSTOM_NODES = PurePosixPath("custom_nodes")
"""Folder of custom nodes in a release."""
FOR_CPU = "cu128"
"""The build whose lock serves CPU hosts."""


def release_of(comfyui: Comfyui, build: str) -> Release:
    """The release of these settings for a host with torch's `build` (cpu, cu128, ...).

    Raises ReleaseError if the ref is not pinned, or no lock is known for it.
    """
    commit = _commit(comfyui)
    trees = {CODE: Source(comfyui.repository, commit)}
    for node in comfyui.custom_nodes:
        trees[CUSTOM_NODES / node.name] = Source(node.url, node.commit)
    label = comfyui.ref if comfyui.ref != commit else commit[:10]
    return Release("comfyui", label, trees, Environment(_lock(comfyui, build), comfyui.python))


def torch_builds(comfyui: Comfyui) -> tuple[str, ...]:
    """Every torch build that a host may get under these settings. Raises ReleaseError if the ref is not pinned."""
    if comfyui.requirements and not comfyui.requirements.is_dir():
        return (CPU,)  # one lock for all hosts
    if comfyui.torch != "auto":
        return (comfyui.torch,)
    return builds(_locks(comfyui), lock_version(comfyui), comfyui.python) or (CPU,)


def lock_version(comfyui: Comfyui) -> str:
    """Prefix of the names of its locks. Raises ReleaseError if the ref is not pinned."""
    return _commit(comfyui)[:10]


def names(release: Release) -> list[str]:
    """Names of a release's custom nodes."""
    return [place.name for place in release.trees if place.parent == CUSTOM_NODES]


def _commit(comfyui: Comfyui) -> str:
    return pinned_commit("comfyui", comfyui.ref, comfyui.commit, {})


def _locks(comfyui: Comfyui) -> Path:
    return comfyui.requirements or LOCKS


def _lock(comfyui: Comfyui, build: str) -> str:
    wanted = build if comfyui.torch == "auto" else comfyui.torch
    try:
        return lock_text(_locks(comfyui), lock_version(comfyui), comfyui.python, wanted, FOR_CPU)
    except LockError as error:
        raise ReleaseError("comfyui.requirements", str(error)) from error
