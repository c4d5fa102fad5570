"""Run ComfyUI as a service that is ready when it has drawn its first picture (drawing_service)."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from roles.onhost import comfyui_api, comfyui_picture, drawing_service


class ComfyuiDrawer:
    """ComfyUI, as drawing_service.Drawer."""

    name = comfyui_api.NAME
    mark = b"To see the GUI go to:"

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def command(self, port: int) -> list[str]:
        return [sys.executable, "main.py", "--port", str(port), *self.options.arguments]

    def prepare(self) -> None:
        """Nothing."""

    def has_checkpoint(self, port: int, seconds: float) -> bool:
        return bool(comfyui_api.checkpoints(port, seconds))

    def look_again(self, port: int, seconds: float) -> None:
        """Nothing: it looks whether its folders have changed whenever it is asked."""

    def first_picture(self, port: int, seconds: float) -> dict[str, Any]:
        return comfyui_picture.first(port, seconds)

    def draws(self, port: int, seconds: float) -> bool:
        return comfyui_api.waiting(port, seconds) > 0


def main() -> None:
    """Serve, as the command line says."""
    options = drawing_service.parser(__doc__, "main.py").parse_args()
    drawing_service.serve(ComfyuiDrawer(options), options)
