"""The distribution's Chromium for tests, driven by Playwright."""

import contextlib
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def program() -> str:
    """Path of Chromium; the test is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: apt install chromium-headless-shell")
    return found


@contextlib.contextmanager
def opened(folder: Path, *flags: str, within: Callable[[Sequence[str]], list[str]] = list) -> Iterator[Page]:
    """A new browser with an empty page.

    + folder: where the script that starts it is written
    + flags: more flags of Chromium's command line
    + within: makes a command run somewhere else, such as in a lab's network
    """
    script = folder / "chromium"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(within([program()]))} "$@"\n')
    script.chmod(0o755)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=script, args=["--no-sandbox", *flags])
        try:
            yield browser.new_page()
        finally:
            browser.close()


def handshakes(page: Page) -> dict[str, int]:
    """By URL, the status of the answer to each websocket's handshake of `page` from now on; grows by itself."""
    urls: dict[str, str] = {}
    statuses: dict[str, int] = {}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.webSocketCreated", lambda event: urls.update({event["requestId"]: event["url"]}))
    session.on(
        "Network.webSocketHandshakeResponseReceived",
        lambda event: statuses.update({urls[event["requestId"]]: event["response"]["status"]}),
    )
    return statuses
