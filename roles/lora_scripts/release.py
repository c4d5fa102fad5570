"""What a release of lora-scripts is made of, computed before a host is asked anything."""

from pathlib import Path

from roles.lora_scripts.config import LoraScripts
from roles.operations.application import CODE, Environment, Release, pinned_commit
from roles.operations.locks import Locks
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
    environment = Environment(locks(lora_scripts).text(build), lora_scripts.python)
    return Release("lora_scripts", label, {CODE: Source(lora_scripts.repository, commit)}, environment)


def locks(lora_scripts: LoraScripts) -> Locks:
    """Those of its environment. Raises ReleaseError if the ref is not pinned."""
    place, version = lora_scripts.requirements or LOCKS, _commit(lora_scripts)[:10]
    return Locks("lora_scripts", place, version, lora_scripts.python, FOR_CPU, lora_scripts.torch)


def _commit(lora_scripts: LoraScripts) -> str:
    return pinned_commit("lora_scripts", lora_scripts.ref, lora_scripts.commit, {})
