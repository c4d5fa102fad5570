"""Run a WebUI as a service that is ready when it has drawn its first picture (drawing_service)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from roles.onhost import drawing_service, files, webui_api, webui_options, webui_picture
from roles.onhost.served_process import ServiceError


class WebuiDrawer:
    """The WebUI, as drawing_service.Drawer."""

    name = webui_api.NAME
    mark = b"Startup time:"
    """A request before it says this would end its start."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def command(self, port: int) -> list[str]:
        return [sys.executable, "launch.py", "--port", str(port), *self.options.arguments]

    def prepare(self) -> None:
        """Put the fleet's options into the WebUI's config.json."""
        if self.options.options:
            try:
                webui_options.put(self.options.config, files.read_json(self.options.options))
            except OSError as error:
                raise ServiceError(f"{self.options.config} cannot be written: {error.strerror}") from error

    def has_checkpoint(self, port: int, seconds: float) -> bool:
        return bool(webui_api.checkpoints(port, seconds))

    def look_again(self, port: int, seconds: float) -> None:
        webui_api.tell(port, "refresh-checkpoints", seconds)

    def first_picture(self, port: int, seconds: float) -> dict[str, Any]:
        return webui_picture.first(port, seconds)

    def draws(self, port: int, seconds: float) -> bool:
        return bool(webui_api.progress(port, seconds)[0])


def main() -> None:
    """Serve, as the command line says."""
    parser = drawing_service.parser(__doc__, "launch.py")
    parser.add_argument("--config", type=Path, help="the WebUI's config.json")
    parser.add_argument("--options", type=Path, help="JSON file with what must stand in its config.json")
    options = parser.parse_args()
    drawing_service.serve(WebuiDrawer(options), options)
