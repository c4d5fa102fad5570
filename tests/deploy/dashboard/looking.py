"""What a person does with the page: read the URL, open it, look at it."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from playwright.sync_api import Page

from tests import browser


def printed_url(process: "subprocess.Popen[str]", hosts: int) -> str:
    """The URL that a program which just started prints."""
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith(f"Dashboard of {hosts} host(s): http://127.0.0.1:"), line
    return line.split()[4]


@contextlib.contextmanager
def flawless(folder: Path, within: Callable[[Sequence[str]], list[str]] = list) -> Iterator[Page]:
    """A browser in which nothing may go wrong, and which may ask nobody but this machine."""
    wrong: list[str] = []
    with browser.opened(folder, within=within) as page:
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda sent: wrong.append(sent.url) if "//127.0.0.1:" not in sent.url else None)
        yield page
    assert wrong == []


def points(page: Page, run: str) -> int:
    """Points of a run's loss curve."""
    return len((page.locator(f"[data-run={run}] .smooth").get_attribute("points") or "").split())
