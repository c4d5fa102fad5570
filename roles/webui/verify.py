"""Checks of a host with the WebUI: it runs as described, confined, and draws."""

import json
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

import pytest
from testinfra.host import Host

from roles.accounts import WEBUI
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
from roles.facts.seen import as_user
from roles.facts.unit_files import check_unit_file, check_unit_runs
from roles.managers import Manager
from roles.operations.application import Release
from roles.operations.locks import device_of
from roles.paths import Paths
from roles.programs import command
from roles.webui.config import Webui
from roles.webui.extensions import names, shown
from roles.webui.release import EXTENSIONS, release_of
from roles.webui.service import UNIT, options_hold, unit_text

MOST_FILES = 100
"""Of the files that its page names, how many are asked for."""


@pytest.fixture(scope="session")
def release(webui: Webui, torch: Mapping[str, str]) -> Release:
    """The release that should run."""
    return release_of(webui, torch["webui"])


def test_unit_file_is_as_described(
    host: Host, webui: Webui, paths: Paths, release: Release, torch: Mapping[str, str], manager: Manager
) -> None:
    wanted = unit_text(webui, paths, release, device_of(torch["webui"]), manager)
    check_unit_file(host, manager.file(UNIT), wanted)


def test_unit_is_active_and_comes_back_after_a_reboot(host: Host, manager: Manager) -> None:
    check_unit_runs(host, UNIT, manager)


def test_the_running_process_is_of_the_release(host: Host, paths: Paths, release: Release) -> None:
    check_release_runs(host, paths, release, UNIT, WEBUI)


def test_code_is_at_its_commits(host: Host, paths: Paths, release: Release) -> None:
    check_trees(host, paths, release)


def test_no_extension_of_an_earlier_file_is_left(host: Host, paths: Paths, release: Release) -> None:
    store, folder = str(paths.git_store), str(shown(paths))
    # As its user and with a time limit: the service can write there.
    look = f"timeout 60 {as_user(WEBUI)} grep -lsFZ %s -r --include=FETCH_HEAD --max-count=1 -D skip %s"
    marks = host.run(look, store, folder).stdout.split("\0")[:-1]
    found = {mark.removeprefix(f"{folder}/").partition("/")[0] for mark in marks}
    left = sorted(found - set(names(release)))
    assert not left, f"{folder} still holds {', '.join(left)}, which fleet.toml no longer names"


def test_extensions_are_linked(host: Host, paths: Paths, release: Release, manager: Manager) -> None:
    if manager.mounts or not names(release):
        pytest.skip("the fleet has no extensions, or systemd mounts them")
    for name in names(release):
        led = host.run("readlink -f %s", str(shown(paths) / name)).stdout.strip()
        assert led == str(release.folder(paths) / EXTENSIONS / name), (
            f"{shown(paths) / name} leads to {led or 'nothing'}"
        )


def test_environment_holds_what_the_lock_says(host: Host, paths: Paths, release: Release) -> None:
    check_environment(host, release.environment, paths, WEBUI)


def test_options_are_as_described(host: Host, webui: Webui) -> None:
    if not webui.options:
        pytest.skip("the fleet sets no option")
    running(host, UNIT, WEBUI)
    found = host.run(http_commands.body(f"http://127.0.0.1:{webui.port}/sdapi/v1/options")).stdout
    assert options_hold(webui.options, found), "the WebUI's options are not those in fleet.toml"


def test_it_may_reach_only_what_the_settings_say(host: Host, webui: Webui, manager: Manager) -> None:
    check_egress(host, UNIT, webui.egress, manager)


def test_processes_belong_to_the_service_user(host: Host) -> None:
    check_user(host, "launch.py", WEBUI, "the WebUI")


def test_it_listens_on_loopback_only(host: Host, webui: Webui) -> None:
    check_loopback(host, {webui.port: "the WebUI"})


def test_it_cannot_write_its_code(host: Host, paths: Paths, release: Release) -> None:
    check_code_is_closed(host, paths, release, WEBUI)


def test_it_serves_no_file_of_the_system(host: Host, webui: Webui) -> None:
    running(host, UNIT, WEBUI)
    url = f"http://127.0.0.1:{webui.port}/file=/etc/passwd"
    status = host.run(http_commands.statuses([url])).stdout.strip()
    assert status not in ("", "000"), f"{url} gives no answer"
    assert status != "200", f"{url} is served to whoever asks"


def test_its_page_gets_its_scripts_and_styles(host: Host, webui: Webui) -> None:
    running(host, UNIT, WEBUI)
    home = f"http://127.0.0.1:{webui.port}/"
    named = f"{http_commands.body(home)} | grep -oE '(src|href)=\"file=[^\"]+' | head -n {MOST_FILES}"
    files = [line.partition('="')[2] for line in host.run(named).stdout.splitlines()]
    if not files:
        pytest.skip("its page names no file, or it has no page")
    found = host.run(http_commands.statuses([home + quote(file, safe="/=?") for file in files])).stdout.split()
    lost = [f"{file} ({status})" for file, status in zip(files, found, strict=True) if status != "200"]
    assert not lost, f"{len(lost)} of {len(files)} files of its page are not served, such as {lost[0]}"


def test_it_draws(host: Host, webui: Webui, paths: Paths, release: Release, models: tuple[Model, ...]) -> None:
    check_has_drawn(host, UNIT, WEBUI, "the WebUI", models)
    check_draws(host, paths, release, "webui_picture", webui.port, WEBUI)


def test_it_reads_its_loras(host: Host, webui: Webui, paths: Paths, models: tuple[Model, ...]) -> None:
    loras = {str(paths.webui_models / f"Lora/{model.name}.safetensors") for model in models if model.kind == "lora"}
    if webui.flavor != "a1111" or not loras:
        pytest.skip("the fleet has no LoRA for it, or it is a fork, which reads others too")
    folder = str(paths.webui_models / "Lora")
    found = json.loads(host.check_output(shlex.join(command(paths.onhost, "lora_keys", folder, paths.store))))
    bad = [f"{PurePosixPath(file).name}: {why}" for file, why in found.items() if file in (*loras, folder)]
    assert not bad, "; ".join(bad)
