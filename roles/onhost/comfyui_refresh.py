"""Have a running ComfyUI forget the models that it has read: it finds new files, but does not see one replaced."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from roles.onhost import comfyui_api, loopback, nofollow

SECONDS = 60


def main() -> None:
    """Ask for it; one that is not ready yet has read none, and no failure is one of the models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="loopback port of ComfyUI")
    parser.add_argument("--state", type=Path, required=True, help="JSON file in which the service tells its state")
    options = parser.parse_args()
    if nofollow.read_json(options.state).get("ready"):
        try:
            comfyui_api.free(options.port, SECONDS)
        except loopback.AnswerError as error:
            print(f"/free {error}", file=sys.stderr)
