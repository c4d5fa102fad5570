"""The WebUI's unit, as text."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from roles import drawing
from roles.accounts import WEBUI
from roles.drawing import Drawing
from roles.managers import Manager
from roles.onhost import webui_api
from roles.operations.application import Release
from roles.operations.locks import Device
from roles.operations.sources import GIT_TRUST
from roles.paths import Paths
from roles.webui.config import Webui, launch_flags
from roles.webui.extensions import mounts
from roles.webui.flavors import FLAVORS

UNIT = webui_api.UNIT
PROGRAM = "webui_service"
STATE = drawing.state_file(UNIT)


def launch_arguments(webui: Webui, paths: Paths, device: Device) -> list[str]:
    """Arguments of launch.py without the port, which the runner chooses."""
    flavor, data = FLAVORS[webui.flavor], paths.data("webui")
    arguments = ["--skip-prepare-environment", *flavor.arguments, "--api", "--data-dir", str(data)]
    for option, folder in flavor.data_folders.items():
        arguments += [option, str(data / folder)]
    if device == "cpu":
        arguments += flavor.cpu_arguments
    if webui.subpath:
        arguments += ["--subpath", webui.subpath.lstrip("/")]
    arguments += launch_flags(webui.flavor).arguments(webui.flags)
    return [*arguments, *webui.extra_arguments]


def options_file(webui: Webui, paths: Paths) -> PurePosixPath:
    """The file with the options that the runner writes to the WebUI's config.json.

    It is named by its content, so that after a rollback the earlier unit finds its own options.
    """
    digest = hashlib.sha256(options_text(webui).encode()).hexdigest()[:12]
    return paths.app("webui") / f"options-{digest}.json"


def options_text(webui: Webui) -> str:
    """Its content."""
    return json.dumps(webui.options, indent=4, sort_keys=True) + "\n"


def options_hold(options: Mapping[str, object], config: str | None) -> bool:
    """Whether the WebUI's config.json (its text) has these options."""
    if not options:
        return True
    try:
        found = json.loads(config or "{}")
    except ValueError:
        return False
    return all(_bare(found.get(name)) == _bare(value) for name, value in options.items())


def _bare(value: object) -> object:
    """A value without the hash that the WebUI adds to a checkpoint's name."""
    return re.sub(r" \[[0-9a-f]{10}\]$", "", value) if isinstance(value, str) else value


def config_file(paths: Paths) -> PurePosixPath:
    """The WebUI's own settings."""
    return paths.data("webui") / "config.json"


def unit_text(webui: Webui, paths: Paths, release: Release, device: Device, manager: Manager) -> str:
    """The file that describes the service to a host's service manager."""
    service = Drawing(
        UNIT,
        PROGRAM,
        "Stable Diffusion WebUI (sdfleet)",
        WEBUI,
        webui.port,
        webui.start_timeout,
        webui.egress,
        release,
        device,
        environment(paths),
        launch_arguments(webui, paths, device),
        options=["--config", str(config_file(paths)), "--options", str(options_file(webui, paths))],
        reads=mounts(release, paths),
        marks=[(e.name, e.commit) for e in webui.extensions],
    )
    return service.text(paths, manager)


def environment(paths: Paths) -> dict[str, str | PurePosixPath]:
    """The unit's environment variables."""
    gradio = {"GRADIO_TEMP_DIR": "/tmp/gradio", "GRADIO_ANALYTICS_ENABLED": "False"}
    return {**drawing.environment(UNIT, paths.data("webui"), paths), **gradio, **GIT_TRUST}
