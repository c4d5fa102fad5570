"""Tell a running WebUI to look at its model folders again. One that is not ready yet will see them anyway."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

KINDS = ("checkpoints", "vae", "loras", "embeddings")
SECONDS = 60


def main() -> None:
    """Ask for each kind; what an older WebUI does not know (404) is left out, and no failure is one of the models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="loopback port of the WebUI")
    parser.add_argument("--state", type=Path, required=True, help="JSON file in which the service tells its state")
    options = parser.parse_args()
    try:
        ready = json.loads(options.state.read_text())["ready"]
    except (OSError, ValueError, KeyError):
        ready = False
    for kind in KINDS if ready else ():  # a request during its start would end it
        request = urllib.request.Request(f"http://127.0.0.1:{options.port}/sdapi/v1/refresh-{kind}", b"{}")
        request.add_header("Content-Type", "application/json")
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=SECONDS).close()
        except urllib.error.HTTPError as error:
            if error.code != 404:
                print(f"refresh-{kind} answered {error.code}", file=sys.stderr)
        except OSError as error:
            print(f"refresh-{kind} gave no answer: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
