"""Checks of a host with models: every link leads to a complete file of the store."""

import shlex

from testinfra.host import Host

from roles.models.addresses import ModelMirrors
from roles.models.config import LockedModel, Model
from roles.models.wanted import WantedFile, wanted
from roles.paths import Paths


def test_models_are_in_place(
    host: Host, models: tuple[LockedModel | Model, ...], paths: Paths, mirrors: ModelMirrors
) -> None:
    """Every model can be opened under its name and has its size."""
    files = wanted(models, paths, mirrors).files
    sizes = _observed(host, "find -L {} -maxdepth 0 -type f -printf '%p\\0%s\\0'", files)
    bad = [file for file in files if sizes.get(str(file.link)) is None]
    assert not bad, f"missing: {_names(bad)}"
    short = [file for file in files if file.size is not None and sizes[str(file.link)] != str(file.size)]
    assert not short, f"not of the right size: {_names(short)}"


def test_names_lead_to_the_right_bytes(
    host: Host, models: tuple[LockedModel | Model, ...], paths: Paths, mirrors: ModelMirrors
) -> None:
    """Every link leads to the file of the store with its sha256, which was checked on download."""
    files = wanted(models, paths, mirrors).files
    targets = _observed(host, "find {} -maxdepth 0 -type l -printf '%p\\0%l\\0'", files)
    wrong = [file for file in files if targets.get(str(file.link)) != str(paths.blob(file.sha256))]
    assert not wrong, f"does not lead to its file in the store: {_names(wrong)}"


def test_hub_cache_names_its_revisions(
    host: Host, models: tuple[LockedModel | Model, ...], paths: Paths, mirrors: ModelMirrors
) -> None:
    """Offline, the Hugging Face libraries find a repository only if its refs/main names the snapshot."""
    for path, content in wanted(models, paths, mirrors).texts.items():
        file = host.file(str(path))
        assert file.exists and file.content_string == content, f"{path} does not name revision {content}"


def _observed(host: Host, command: str, files: tuple[WantedFile, ...]) -> dict[str, str]:
    """The output of `command`, with the files' names for {}: name -> value."""
    if not files:
        return {}
    done = host.run(command.format(shlex.join(str(file.link) for file in files)))
    fields = done.stdout.split("\0")
    return dict(zip(fields[::2], fields[1::2], strict=False))


def _names(files: list[WantedFile]) -> str:
    return ", ".join(f"{file.model} ({file.link})" for file in files)
