"""Tell a running WebUI to look at its model folders again. One that is not ready yet will see them anyway."""

from __future__ import annotations

import argparse
import sys

from roles.onhost import loopback, nofollow

KINDS = ("checkpoints", "vae", "loras", "embeddings")
SECONDS = 60


def main() -> None:
    """Ask for each kind; what an older WebUI does not know (404) is left out, and no failure is one of the models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="loopback port of the WebUI")
    parser.add_argument("--state", required=True, help="JSON file in which the service tells its state")
    options = parser.parse_args()
    ready = nofollow.read_json(options.state).get("ready")
    for kind in KINDS if ready is True else ():  # a request during its start would end it
        try:
            loopback.ask(options.port, f"/sdapi/v1/refresh-{kind}", b"{}", SECONDS)
        except loopback.AnswerError as error:
            if error.status != 404:
                print(f"refresh-{kind} {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
