"""What a release of lora-scripts is made of, computed before a host is asked anything."""

from pathlib import Path

from roles.lora_scripts.config import LoraScripts
from roles.operations.application import CODE, COMMIT, Release, ReleaseError
from roles.operations.environment import Environment
from roles.operations.sources import Source

LOCKS = Path(__file__).resolve().parent / "locks"


def release_of(lora_scripts: LoraScripts) -> Release:
    """The release that the settings stand for; its commit decides the submodules.

    Raises ReleaseError if the ref is not pinned, or no lock is known for it.
    """
    ref = lora_scripts.ref
    commit = lora_scripts.commit or (ref if COMMIT.fullmatch(ref) else None)
    if commit is None:
        raise ReleaseError(f"lora_scripts.ref: {ref!r} is not pinned; give a full commit id, or run `sdfleet lock`")
    label = ref if ref != commit else commit[:10]
    environment = Environment(_lock(lora_scripts, commit), lora_scripts.python)
    return Release("lora_scripts", label, {CODE: Source(lora_scripts.repository, commit)}, environment)


def _lock(lora_scripts: LoraScripts, commit: str) -> str:
    if lora_scripts.requirements:
        try:
            return lora_scripts.requirements.read_text(encoding="utf-8")
        except OSError as error:
            place = lora_scripts.requirements
            raise ReleaseError(f"lora_scripts.requirements: cannot read {place}: {error.strerror}") from error
    shipped = LOCKS / f"{commit[:10]}-py{lora_scripts.python}-{lora_scripts.torch}.txt"
    if not shipped.is_file():
        known = ", ".join(sorted(path.stem for path in LOCKS.glob("*.txt")))
        raise ReleaseError(
            f"lora_scripts.requirements: no lock ships for commit {commit[:10]} with Python {lora_scripts.python} "
            f"(there are {known}); name one of your own"
        )
    return shipped.read_text(encoding="utf-8")
