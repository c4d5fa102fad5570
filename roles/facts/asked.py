"""Commands that ask a service over HTTP: it is a stranger, so its answer is bounded in time and size.

curl's own --max-filesize knows only of sizes that are told beforehand, so a pipe ends what has no end. No redirect is
followed, and no proxy or configuration of root's is used.
"""

import shlex

SECONDS = 30
LARGEST = 4_000_000
"""Bytes of an answer that are read."""
CURL = f"curl -q -sS -m {SECONDS} --noproxy '*' --max-filesize {LARGEST}"


def body(url: str, *options: str) -> str:
    """The command that prints the body of a GET; nothing if there is none."""
    return f"{CURL} {' '.join(options)} -- {shlex.quote(url)} | head -c {LARGEST}"


def statuses(urls: list[str], *options: str) -> str:
    """The command that prints a line with the status of each URL's answer (000: none), all within a minute."""
    asked = " ".join(f"-o /dev/null {shlex.quote(url)}" for url in urls)
    return f"timeout {2 * SECONDS} {CURL} {' '.join(options)} -w '%{{http_code}}\\n' {asked}; true"
