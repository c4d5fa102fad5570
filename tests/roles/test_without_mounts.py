"""Where systemd does not mount and watch folders for a service: links, and a program that looks."""

import subprocess
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from pyinfra.api.exceptions import DeployError

from roles.facts.seen import Entry, HostSurvey
from roles.facts.survey import Survey
from roles.lora_scripts import application as lora_scripts
from roles.lora_scripts.config import LoraScripts
from roles.lora_scripts.release import release_of
from roles.lora_scripts.service import GUI, LINKS, SHOWN, WATCH, WRITTEN, shown_models, unit_texts, watching
from roles.managers import SYSTEMD, Manager, Supervisor
from roles.paths import Paths
from roles.webui import takeover
from roles.webui.extensions import link_target, shown
from tests import onhost
from tests.roles.base.machine import until
from tests.roles.declared import declared
from tests.roles.test_pinned_checkout import commit, git, repository


def test_lora_scripts_writes_to_its_data_folder_through_links(tmp_path: Path) -> None:
    paths = Paths(root=PurePosixPath(tmp_path / "root"))
    code = tmp_path / "build/code"
    (tmp_path / "build").mkdir()
    repository(code, gui="a program")
    for name in (
        "logs/.keep",
        "output/.keep",
        "sd-models/put stable diffusion model here.txt",
        "config/presets/a.toml",
    ):
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).touch()
    commit(code)
    subprocess.run(["sh", "-ec", lora_scripts.linking(paths)], cwd=tmp_path / "build", check=True)
    targets = {place: paths.data("lora_scripts") / name for place, name in WRITTEN.items()} | {
        SHOWN: shown_models(paths)
    }
    assert {place: str((code / place).readlink()) for place in targets} == {at: str(to) for at, to in targets.items()}
    assert git(code, "status", "--porcelain", "--untracked-files=no") == "", "it would count as changed by hand"
    assert (code / "config/presets/a.toml").exists()


@pytest.mark.parametrize(("manager", "linked"), [(SYSTEMD, False), (Supervisor(Paths()), True)])
def test_its_folders_are_mounted_where_that_works(manager: Manager, linked: bool) -> None:
    first, *_ = lora_scripts.finishing(Paths(), release_of(LoraScripts(), "cpu"), manager)
    assert ("ln -sT" in first, "mkdir -p code/config/autosave" in first) == (linked, not linked)


def test_new_models_are_looked_for_by_a_service_where_nothing_watches_folders() -> None:
    scripts, paths = LoraScripts(), Paths()
    release = release_of(scripts, "cpu")
    files = unit_texts(scripts, paths, release, "cpu", SYSTEMD)
    assert WATCH in files and "--every" not in files[LINKS] and watching(SYSTEMD) == WATCH
    manager = Supervisor(paths)
    texts = unit_texts(scripts, paths, release, "cpu", manager)
    assert {path.name for path in texts} == {path.name for path in files} - {WATCH.name} and watching(manager) == LINKS
    assert '"--every"' in texts[manager.file(LINKS.name)] and '"restart": "always"' in texts[manager.file(LINKS.name)]
    assert manager.file(GUI.name) in texts


def test_that_service_shows_what_comes_later(tmp_path: Path) -> None:
    for name in ("models", "store/sha256/ab", "shown", "runs", "train"):
        (tmp_path / name).mkdir(parents=True)
    words = ["--models", tmp_path / "models", "--store", tmp_path / "store", "--sd-models", tmp_path / "shown"]
    words += ["--runs", tmp_path / "runs", "--train", tmp_path / "train", "--every", 0.1]
    with subprocess.Popen(onhost.words("lora_scripts_links", *words), stdout=subprocess.PIPE) as program:
        try:
            (tmp_path / "store/sha256/ab/abcd").write_text("a model")
            (tmp_path / "models/a.safetensors").symlink_to(tmp_path / "store/sha256/ab/abcd")
            until((tmp_path / "shown/a.safetensors").exists)
            (tmp_path / "models/a.safetensors").unlink()
            until(lambda: not (tmp_path / "shown/a.safetensors").exists())
        finally:
            program.kill()


PATHS = Paths()
FOLDER = shown(PATHS)


def _found(*built: str, **entries: Entry) -> takeover.FoundExtensions:
    """What is found where release v1 has the extensions `built`."""
    seen = HostSurvey({str(FOLDER / name): entry for name, entry in entries.items()})
    parts = (PATHS.releases("webui") / "v1/extensions" / name for name in built)
    seen.entries.update({str(part): Entry("d", "root", "root", 0o755) for part in parts})
    seen.names = {str(FOLDER / name): ["a file"] for name in entries}
    kept: list[takeover.FoundExtensions] = []
    declared(lambda: kept.append(takeover.find_extensions(list(entries), ["v1"], PATHS)), {Survey: seen})
    return kept[0]


def _link(name: str) -> Entry:
    return Entry("l", "root", "root", 0o777, str(link_target(name, PATHS)))


def _commands(step: Callable[..., None], found: takeover.FoundExtensions, *wanted: str) -> list[str]:
    made = declared(lambda: step(found, wanted, PATHS))
    return [command for commands in made.values() for command in commands]


def test_an_extension_is_linked_to_that_of_the_release_in_use() -> None:
    current = PATHS.current("webui")
    none = _found()
    assert _commands(takeover.link_extensions, none, "a") == [f"ln -sfT {current}/extensions/a {FOLDER}/a"]
    there = _found(a=_link("a"), b=_link("b"), theirs=Entry("d", "root", "root", 0o755))
    assert _commands(takeover.link_extensions, there, "a", "b") == []
    assert _commands(takeover.unlink_extensions, there, "a", "b") == []
    assert _commands(takeover.unlink_extensions, there, "a") == [f"rm -f {FOLDER}/b"]
    back = _found("b", a=_link("a"), b=_link("b"))
    assert _commands(takeover.unlink_extensions, back, "a") == [], "the host may go back to a release that has it"
    assert _commands(takeover.unlink_extensions, _found(own=Entry("l", "root", "root", 0o777, "/srv/own"))) == []


def test_what_somebody_put_into_the_place_is_not_overwritten() -> None:
    there = _found(a=Entry("d", "root", "root", 0o755))
    with pytest.raises(DeployError, match=rf"{FOLDER}/a: the fleet's extension of that name needs the place; move it"):
        _commands(takeover.link_extensions, there, "a")
