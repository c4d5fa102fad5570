"""What a release of lora-scripts is made of, computed before a host is asked anything."""

from pathlib import Path

from roles.lora_scripts.config import LoraScripts
from roles.operations.application import CODE, Environment, Release, ReleaseError, pinned_commit
from roles.operations.locks import CPU, LockError, builds, lock_text
from roles.operations.sources import Source

LOCKS = Path(__file__).resolve().parent / "locks"
FOR_CPU = "cu128"
"""The build whose lock serves CPU hosts."""


def release_of(lora_scripts: LoraScripts, build: str) -> Release:
    """The release that the settings stand for on a host that gets torch's `build`; its commit decides the submodules.

    Raises ReleaseError if the ref is not pinned, or no lock is known for it.
    """
    ref, commit = lora_scripts.ref, _commit(lora_scripts)
    label = ref if ref != commit else commit[:10]
    environment = Environment(_lock(lora_scripts, commit, build), lora_scripts.python)
    return Release("lora_scripts", label, {CODE: Source(lora_scripts.repository, commit)}, environment)


def torch_builds(lora_scripts: LoraScripts) -> tuple[str, ...]:
    """Every torch build that a host may get under these settings. Raises ReleaseError if the ref is not pinned."""
    if lora_scripts.requirements:
        return (CPU,)  # one lock for all hosts
    if lora_scripts.torch != "auto":
        return (lora_scripts.torch,)
    return builds(LOCKS, _commit(lora_scripts)[:10], lora_scripts.python) or (CPU,)


def _commit(lora_scripts: LoraScripts) -> str:
    return pinned_commit("lora_scripts", lora_scripts.ref, lora_scripts.commit, {})


def _lock(lora_scripts: LoraScripts, commit: str, build: str) -> str:
    wanted = build if lora_scripts.torch == "auto" else lora_scripts.torch
    try:
        return lock_text(lora_scripts.requirements or LOCKS, commit[:10], lora_scripts.python, wanted, FOR_CPU)
    except LockError as error:
        raise ReleaseError("lora_scripts.requirements", str(error)) from error
