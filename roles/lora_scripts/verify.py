"""What must hold on a host with lora-scripts: it runs as described, whole, confined, and shows the fleet's models."""

import shlex
from collections.abc import Mapping

import pytest
from testinfra.host import Host

from roles.accounts import LORA_SCRIPTS, SHARED
from roles.facts import http_commands
from roles.facts.confinement import check_loopback, check_unwritable
from roles.facts.survey import GIT
from roles.facts.unit_files import check_runs_as, check_unit_file, check_unit_runs
from roles.lora_scripts.config import LoraScripts
from roles.lora_scripts.release import release_of
from roles.lora_scripts.service import BOARD, GUI, WRITTEN, shown_models, unit_texts, watching
from roles.managers import Manager
from roles.onhost.files import json_object
from roles.operations.application import CODE, Release
from roles.operations.locks import device_of
from roles.paths import Paths


@pytest.fixture(scope="session")
def release(lora_scripts: LoraScripts, torch: Mapping[str, str]) -> Release:
    """The release that should run."""
    return release_of(lora_scripts, torch["lora_scripts"])


def test_units_are_as_described(
    host: Host, lora_scripts: LoraScripts, paths: Paths, release: Release, torch: Mapping[str, str], manager: Manager
) -> None:
    wanted = unit_texts(lora_scripts, paths, release, device_of(torch["lora_scripts"]), manager)
    for file, text in wanted.items():
        check_unit_file(host, file, text)


@pytest.mark.parametrize("unit", [GUI.name, BOARD.name])
def test_unit_is_active_and_comes_back_after_a_reboot(host: Host, unit: str, manager: Manager) -> None:
    check_unit_runs(host, unit, manager)


def test_new_models_and_datasets_are_looked_for(host: Host, manager: Manager) -> None:
    check_unit_runs(host, watching(manager).name, manager)


def test_gui_answers(host: Host, lora_scripts: LoraScripts) -> None:
    answer = host.run(http_commands.body(f"http://127.0.0.1:{lora_scripts.port}/api/presets"))
    assert answer.stdout, f"the GUI gives no answer: {answer.stderr.strip()}"
    assert json_object(answer.stdout.encode()).get("status") == "success", f"the GUI answers {answer.stdout[:200]}"
    page = host.run(http_commands.body(f"http://127.0.0.1:{lora_scripts.port}/")).stdout
    assert "<html" in page.lower(), "the GUI has no page: is the submodule frontend there?"


def test_tensorboard_answers(host: Host, lora_scripts: LoraScripts) -> None:
    answer = host.run(http_commands.body(f"http://127.0.0.1:{lora_scripts.tensorboard_port}/data/runs"))
    assert answer.stdout.startswith("["), f"TensorBoard gives no answer: {answer.stderr.strip()}"


def test_code_and_submodules_are_at_their_commits(host: Host, paths: Paths, release: Release) -> None:
    tree = release.folder(paths) / CODE
    git = f"{GIT} -C {shlex.quote(str(tree))}"
    head = host.check_output(f"{git} rev-parse HEAD")
    assert head == release.trees[CODE].commit, f"{tree} is at {head[:12]}, not at {release.trees[CODE].commit[:12]}"
    changes = host.check_output(f"{git} status --porcelain --untracked-files=no").splitlines()
    assert not changes, f"{tree} was changed by hand: {changes[0].strip()}"
    named = host.check_output(f"{git} ls-tree -r HEAD | grep '^160000' || true").splitlines()
    found = host.check_output(f"{git} submodule status --recursive").splitlines()
    # check_output strips the first line's blank: a mark in front of the commit is what tells.
    wrong = [line.split()[1] for line in found if line.lstrip()[0] in "+-U"]
    assert not wrong, f"submodules are missing or at another commit: {', '.join(wrong)}"
    assert len(found) >= len(named), f"{len(named)} submodules are named, {len(found)} are there"


def test_processes_belong_to_the_service_user(host: Host, manager: Manager) -> None:
    for unit in (GUI.name, BOARD.name):
        check_runs_as(host, unit, LORA_SCRIPTS, manager)


def test_it_listens_on_loopback_only(host: Host, lora_scripts: LoraScripts) -> None:
    check_loopback(host, {lora_scripts.port: "lora-scripts", lora_scripts.tensorboard_port: "its TensorBoard"})


def test_it_cannot_write_code_or_models(host: Host, paths: Paths, release: Release) -> None:
    code, env = release.folder(paths) / CODE, release.environment.folder(paths)
    check_unwritable(host, LORA_SCRIPTS, (code, env, paths.onhost, shown_models(paths), paths.store))


def test_it_cannot_swap_the_folders_that_are_mounted_for_it(host: Host, paths: Paths) -> None:
    data = paths.data("lora_scripts")
    for place in (data, *(data / name for name in WRITTEN.values())):
        entry = host.file(str(place))
        assert entry.is_directory, f"{place} is no folder"
        assert (entry.user, entry.group, entry.mode) == ("root", LORA_SCRIPTS, SHARED), (
            f"{place} belongs to {entry.user}"
        )


def test_gui_lists_the_checkpoints_of_the_fleet(host: Host, lora_scripts: LoraScripts, paths: Paths) -> None:
    folder = paths.webui_models / "Stable-diffusion"
    links = host.run(f"find {shlex.quote(str(folder))} -maxdepth 1 -type l -name '*.safetensors' -printf '%f\\0'")
    url = f"http://127.0.0.1:{lora_scripts.port}/api/get_files?pick_type=model-file"
    answer = host.run(http_commands.body(url)).stdout
    try:
        paths_shown = {str(file["name"]): str(file["path"]) for file in json_object(answer.encode())["data"]["files"]}
    except (KeyError, TypeError):
        pytest.fail(f"the GUI lists no files but answers {answer[:200]}")
    for name in links.stdout.split("\0")[:-1]:
        assert paths_shown.get(name, "").endswith(f"/{name}"), f"the GUI does not offer {name}"
