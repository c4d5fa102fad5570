"""Tell a running WebUI to look at its model folders again. One that is not ready yet will see them anyway."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from roles.onhost import files, loopback, webui_api

SECONDS = 60


def main() -> None:
    """Ask for each kind; what an older WebUI does not know (404) is left out, and no failure is one of the models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="loopback port of the WebUI")
    parser.add_argument("--state", type=Path, required=True, help="JSON file in which the service tells its state")
    options = parser.parse_args()
    for kind in webui_api.KINDS if files.read_json(options.state).get("ready") else ():
        try:
            webui_api.tell(options.port, f"refresh-{kind}", SECONDS)
        except loopback.AnswerError as error:
            if error.status != 404:
                print(f"refresh-{kind} {error}", file=sys.stderr)
