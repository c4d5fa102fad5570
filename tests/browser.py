"""A real browser for tests: Chromium without a window, steered over a pipe by its own protocol (CDP)."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def program() -> str:
    """Chromium's command; the test is left out where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: apt install chromium-headless-shell")
    return found


@dataclass
class Page:
    """One page of a running browser."""

    orders: int
    """What the browser reads."""
    answers: int
    """What it writes."""
    login: tuple[str, str] | None = None
    """Name and password for whoever asks by HTTP Basic, as a person would type them."""
    session: str = ""
    sockets: dict[str, int] = field(default_factory=dict)
    """Status of the answer to each websocket's handshake, by URL."""
    _last: int = 0
    _unread: bytes = b""
    _urls: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, seconds: float = 60, **parameters: Any) -> Any:
        """What a method of the protocol returns; events that come meanwhile are seen to."""
        number, deadline = self._send(method, parameters), time.monotonic() + seconds
        while True:
            message = self._next(deadline, method)
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._on_event(message.get("method", ""), message.get("params", {}))

    def open(self, url: str) -> None:
        """Go to a page; AssertionError, with the browser's reason, if it does not come."""
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"

    def value(self, expression: str) -> Any:
        """What a piece of JavaScript comes to on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        """Return when the piece of JavaScript is true; AssertionError with the page's text if it never is."""
        deadline = time.monotonic() + seconds
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"never: {expression}\n{self.value('document.body.innerText')}"
            time.sleep(0.1)

    def picture(self, file: Path) -> None:
        """Write what a person would see."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _send(self, method: str, parameters: dict[str, Any]) -> int:
        self._last += 1
        order = {"id": self._last, "method": method, "params": parameters}
        if self.session:
            order["sessionId"] = self.session
        os.write(self.orders, json.dumps(order).encode() + b"\0")
        return self._last

    def _next(self, deadline: float, wanted: str) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self.answers], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"the browser gave no answer to {wanted}"
            part = os.read(self.answers, 1 << 16)
            assert part, "the browser has ended"
            self._unread += part
        message, self._unread = self._unread.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _on_event(self, name: str, event: dict[str, Any]) -> None:
        if name == "Fetch.requestPaused":
            self._send("Fetch.continueRequest", {"requestId": event["requestId"]})
        elif name == "Fetch.authRequired":
            answer = {"response": "CancelAuth"}
            if self.login:
                answer = {"response": "ProvideCredentials", "username": self.login[0], "password": self.login[1]}
            self._send("Fetch.continueWithAuth", {"requestId": event["requestId"], "authChallengeResponse": answer})
        elif name == "Network.webSocketCreated":
            self._urls[event["requestId"]] = event["url"]
        elif name == "Network.webSocketHandshakeResponseReceived":
            self.sockets[self._urls[event["requestId"]]] = event["response"]["status"]


@contextlib.contextmanager
def opened(profile: Path, *flags: str, within: Callable[[Sequence[str]], list[str]] = list) -> Iterator[Page]:
    """
    An empty page, for the length of a `with` block.

    + profile: a folder for what the browser keeps
    + flags: further ones of its command line
    + within: makes a command run somewhere else, such as in a lab's network
    """
    read, orders = os.pipe()
    answers, write = os.pipe()
    # The browser wants its ends as descriptors 3 and 4, which may be taken here.
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]
    command = [program(), *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", *flags, "about:blank"]
    joined = ["bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "bash", *within(command)]
    with profile.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(joined, pass_fds=theirs, stdout=log, stderr=log, start_new_session=True)
    for end in (read, write, *theirs):
        os.close(end)
    try:
        page = Page(orders, answers)
        target = page.call("Target.createTarget", url="about:blank")["targetId"]
        page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network"):
            page.call(f"{domain}.enable")
        page.call("Fetch.enable", handleAuthRequests=True, patterns=[{"urlPattern": "*"}])
        yield page
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(orders)
        os.close(answers)
