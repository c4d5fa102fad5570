"""Tell a running application that draws to look at its models again. One that is not ready yet will see them anyway."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from roles.onhost import nofollow
from roles.onhost.drawing_applications import APPLICATIONS

SECONDS = 60


def main() -> None:
    """Tell it; no failure is one of the models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("app", choices=APPLICATIONS)
    parser.add_argument("--port", type=int, required=True, help="its loopback port")
    parser.add_argument("--state", type=Path, required=True, help="JSON file in which its service tells its state")
    options = parser.parse_args()
    if nofollow.read_json(options.state).get("ready"):
        for fault in APPLICATIONS[options.app].refresh(options.port, SECONDS):
            print(fault, file=sys.stderr)
