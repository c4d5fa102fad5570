"""python -m lab.upstreams: make the content and serve it until told to stop."""

import argparse
import signal
import threading
from pathlib import Path

from lab.upstreams.catalog import build
from lab.upstreams.service import Ports, Upstreams


def main() -> None:
    """Parse the command line and serve; prints "ready" when every port is open."""
    parser = argparse.ArgumentParser(prog="python -m lab.upstreams", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the content and of requests.jsonl")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--build", action="store_true", help="make the content first")
    parser.add_argument("--repositories", type=Path, help="folder of further git repositories, OWNER/NAME.git")
    options = parser.parse_args()
    if options.build:
        build(options.root)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Upstreams(options.root, options.bind, Ports(), options.repositories) as upstreams:
        print(f"ready: {upstreams.url('control')}", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
