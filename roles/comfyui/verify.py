"""Checks of a host with ComfyUI: it runs as described, confined, and draws with the fleet's models."""

import json
from collections.abc import Mapping

import pytest
from testinfra.host import Host

from roles.accounts import COMFYUI
from roles.comfyui.config import Comfyui
from roles.comfyui.release import release_of
from roles.comfyui.service import UNIT, folders_file, folders_text, unit_text
from roles.facts import http_commands
from roles.facts.confinement import check_loopback
from roles.facts.drawing_checks import (
    Model,
    check_code_is_closed,
    check_draws,
    check_egress,
    check_has_drawn,
    check_release_runs,
    check_trees,
    check_user,
    running,
)
from roles.facts.installed import check_environment
from roles.facts.unit_files import check_file, check_unit_file, check_unit_runs
from roles.managers import Manager
from roles.operations.application import Release
from roles.operations.locks import device_of
from roles.paths import Paths

LISTED = {"checkpoint": "checkpoints", "lora": "loras", "vae": "vae"}
"""Kind of a model -> what ComfyUI calls it."""


@pytest.fixture(scope="session")
def release(comfyui: Comfyui, torch: Mapping[str, str]) -> Release:
    """The release that should run."""
    return release_of(comfyui, torch["comfyui"])


def test_unit_file_is_as_described(
    host: Host, comfyui: Comfyui, paths: Paths, release: Release, torch: Mapping[str, str], manager: Manager
) -> None:
    wanted = unit_text(comfyui, paths, release, device_of(torch["comfyui"]), manager)
    check_unit_file(host, manager.file(UNIT), wanted)


def test_folders_of_models_are_as_described(host: Host, paths: Paths) -> None:
    check_file(host, folders_file(paths), folders_text(paths))


def test_unit_is_active_and_comes_back_after_a_reboot(host: Host, manager: Manager) -> None:
    check_unit_runs(host, UNIT, manager)


def test_the_running_process_is_of_the_release(host: Host, paths: Paths, release: Release) -> None:
    check_release_runs(host, paths, release, UNIT, COMFYUI)


def test_code_and_custom_nodes_are_at_their_commits(host: Host, paths: Paths, release: Release) -> None:
    check_trees(host, paths, release)


def test_environment_holds_what_the_lock_says(host: Host, paths: Paths, release: Release) -> None:
    check_environment(host, release.environment, paths, COMFYUI)


def test_it_may_reach_only_what_the_settings_say(host: Host, comfyui: Comfyui, manager: Manager) -> None:
    check_egress(host, UNIT, comfyui.egress, manager)


def test_processes_belong_to_the_service_user(host: Host) -> None:
    check_user(host, "main.py", COMFYUI, "ComfyUI")


def test_it_listens_on_loopback_only(host: Host, comfyui: Comfyui) -> None:
    check_loopback(host, {comfyui.port: "ComfyUI"})


def test_it_cannot_write_its_code(host: Host, paths: Paths, release: Release) -> None:
    check_code_is_closed(host, paths, release, COMFYUI)


def test_it_offers_the_models_of_the_fleet(host: Host, comfyui: Comfyui, models: tuple[Model, ...]) -> None:
    running(host, UNIT, COMFYUI)
    for kind, called in LISTED.items():
        wanted = {model.name for model in models if model.kind == kind}
        if not wanted:
            continue
        found = host.run(http_commands.body(f"http://127.0.0.1:{comfyui.port}/models/{called}")).stdout
        try:
            there = {str(name).rpartition("/")[2].rpartition(".")[0] for name in json.loads(found)}
        except (ValueError, TypeError):
            pytest.fail(f"ComfyUI lists no {called}: it answers {found[:200]!r}")
        assert wanted <= there, f"ComfyUI does not offer {', '.join(sorted(wanted - there))} among its {called}"


def test_it_draws(host: Host, comfyui: Comfyui, paths: Paths, release: Release, models: tuple[Model, ...]) -> None:
    check_has_drawn(host, UNIT, COMFYUI, "ComfyUI", models)
    check_draws(host, paths, release, "comfyui_picture", comfyui.port, COMFYUI)
