"""The contents of a ComfyUI release, computed from the settings alone."""

from pathlib import Path, PurePosixPath

from roles.comfyui.config import Comfyui
from roles.operations.application import CODE, Environment, Release, pinned_commit
from roles.operations.locks import Locks
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
    return Release("comfyui", label, trees, Environment(locks(comfyui).text(build), comfyui.python))


def locks(comfyui: Comfyui) -> Locks:
    """Those of its environment. Raises ReleaseError if the ref is not pinned."""
    place = comfyui.requirements or LOCKS
    return Locks("comfyui", place, lock_version(comfyui), comfyui.python, FOR_CPU, comfyui.torch)


def lock_version(comfyui: Comfyui) -> str:
    """Prefix of the names of its locks. Raises ReleaseError if the ref is not pinned."""
    return _commit(comfyui)[:10]


def names(release: Release) -> list[str]:
    """Names of a release's custom nodes."""
    return [place.name for place in release.trees if place.parent == CUSTOM_NODES]


def _commit(comfyui: Comfyui) -> str:
    return pinned_commit("comfyui", comfyui.ref, comfyui.commit, {})
