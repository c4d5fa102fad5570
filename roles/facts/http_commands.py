"""Commands for HTTP requests to a service, which is not trusted: its answers are limited in time and size.

curl's --max-filesize works only if the size is announced, so a pipe cuts endless answers. No redirect is followed, and
neither a proxy nor root's curl configuration is used.
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
    """The command that prints the status of each URL's answer on a line (000: none), within a minute in total."""
    asked = " ".join(f"-o /dev/null {shlex.quote(url)}" for url in urls)
    return f"timeout {2 * SECONDS} {CURL} {' '.join(options)} -w '%{{http_code}}\\n' {asked}; true"
