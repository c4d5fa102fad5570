"""Asks a WebUI ten times a second whether it answers, on the host itself, until it is ended.

    prober.py PORT FILE

Writes a line a question: when it was asked and when it was answered (s since the epoch), and 1 or 0.
"""

import http.client
import sys
import time
from pathlib import Path


def answers(port: int) -> bool:
    """Whether the front page comes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def main(port: int, file: str) -> None:
    """Ask for ever."""
    with Path(file).open("w", buffering=1) as log:
        due = time.time()
        while True:
            began = time.time()
            good = answers(port)
            print(f"{began:.3f} {time.time():.3f} {int(good)}", file=log)
            due = max(due + 0.1, time.time())
            time.sleep(max(0.0, due - time.time()))


main(int(sys.argv[1]), sys.argv[2])
