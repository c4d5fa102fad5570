"""Who may read the page, and what it tells while it is open."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from deploy.dashboard.board import Board
from deploy.dashboard.command import listener
from inventory.errors import ConfigError
from tests.deploy.dashboard import scene


@dataclass
class Opened:
    """The page of a board, and a browser that has opened it."""

    board: Board
    url: str
    """What is printed, with the token."""
    page: str
    browser: requests.Session

    @property
    def origin(self) -> str:
        """Scheme, address and port."""
        return self.url.partition("/?")[0]


@pytest.fixture
def opened() -> Iterator[Opened]:
    board = Board()
    scene.fill(board)
    with scene.serving(board, {"gpu-1": scene.Painter()}) as url, requests.Session() as browser:
        answer = browser.get(url, timeout=5)
        assert answer.status_code == 200
        yield Opened(board, url, answer.url, browser)


def until(happens: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something; AssertionError if it takes longer."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


@contextlib.contextmanager
def events(opened: Opened, **headers: str) -> Iterator[Iterator[tuple[str, Any]]]:
    """Kind and value of each event, as they come."""
    with opened.browser.get(f"{opened.page}events", stream=True, timeout=10, headers=headers) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")

        def told() -> Iterator[tuple[str, Any]]:
            kind = ""
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)

        yield told()


def test_the_token_opens_the_page_and_leaves_the_address_bar(opened: Opened) -> None:
    token = opened.url.partition("token=")[2]
    assert token not in opened.page
    assert list(opened.browser.cookies.get_dict(path=opened.page.removeprefix(opened.origin)).values()) == [token]
    entry = requests.get(opened.url, allow_redirects=False, timeout=5)
    assert entry.status_code == 303
    assert "HttpOnly" in entry.headers["Set-Cookie"] and "samesite=strict" in entry.headers["Set-Cookie"].lower()


@pytest.mark.parametrize("place", ["", "events", "page.js", "samples/gpu-1/ink/00000250-00"])
def test_nobody_reads_anything_without_the_token(place: str, opened: Opened) -> None:
    for cookies in ({}, {opened.browser.cookies.keys()[0]: "wrong"}, {opened.browser.cookies.keys()[0]: "\xe4"}):
        answer = requests.get(opened.page + place, cookies=cookies, timeout=5)
        assert answer.status_code == 403 and "studio" not in answer.text
    assert requests.get(f"{opened.origin}/?token=wrong", timeout=5).status_code == 403
    assert requests.get(f"{opened.origin}/", timeout=5).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1.evil.example:{port}", "localhost"])
def test_another_name_for_this_machine_is_refused(host: str, opened: Opened) -> None:
    port = opened.origin.rpartition(":")[2]
    told = {"Cookie": "; ".join(f"{name}={value}" for name, value in opened.browser.cookies.items())}
    answer = requests.get(opened.page, headers={**told, "Host": host.format(port=port)}, timeout=5)
    assert answer.status_code == 421 and "studio" not in answer.text
    for name in (f"localhost:{port}", f"127.0.0.1:{port}"):
        assert requests.get(opened.page, headers={**told, "Host": name}, timeout=5).status_code == 200


def test_requests_of_other_pages_are_refused(opened: Opened) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"https://x@{opened.origin[7:]}"):
        assert opened.browser.get(f"{opened.page}page.css", headers={"Origin": origin}, timeout=5).status_code == 403
    assert opened.browser.get(opened.page, headers={"Origin": opened.origin}, timeout=5).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_it_only_reads(method: str, opened: Opened) -> None:
    assert opened.browser.request(method, opened.page, timeout=5).status_code == 405


def test_every_answer_forbids_what_is_not_ours(opened: Opened) -> None:
    for place in (opened.page, f"{opened.page}page.js", f"{opened.page}nothing", opened.origin):
        headers = opened.browser.get(place, timeout=5).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "Server" not in headers


def test_it_listens_on_loopback_alone() -> None:
    with listener(None) as first, listener(None) as second:
        assert {one.getsockname()[0] for one in (first, second)} == {"127.0.0.1"}
        with pytest.raises(ConfigError, match="is taken; choose another"):
            listener(first.getsockname()[1])


def test_pictures_are_those_that_runs_have_named(opened: Opened) -> None:
    answer = opened.browser.get(f"{opened.page}samples/gpu-1/ink/00000250-00", timeout=5)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    for place in ("gpu-1/other/00000250-00", "gpu-9/ink/00000250-00", "gpu-1/..%2f..%2fink/00000250-00", "gpu-1/ink/"):
        assert opened.browser.get(f"{opened.page}samples/{place}", timeout=5).status_code == 404
    assert opened.browser.get(f"{opened.page}samples/gpu-1/ink-broken/00000250-00", timeout=5).status_code == 502


def test_a_page_gets_all_and_then_what_changes(opened: Opened) -> None:
    with events(opened) as told:
        first: dict[str, list[Any]] = {}
        for kind, value in told:
            first.setdefault(kind, []).append(value)
            if kind == "beat":
                break
        assert first["fleet"] == [{"name": "studio", "file": "fleet.toml", "hosts": [h["name"] for h in first["host"]]}]
        assert [host["reach"] for host in first["host"]] == [*["answers"] * 4, "lost"]
        assert {len(run["curve"]) for run in first["run"]} == {240}
        opened.board.put("host", "gpu-2", scene.view("gpu-2", scene.state(1, 99)))
        kind, value = next(event for event in told if event[0] != "beat")
        assert (kind, value["name"], value["state"]["gpus"][0]["load_percent"]) == ("host", "gpu-2", 99)


def test_a_page_that_was_cut_off_gets_what_it_missed(opened: Opened) -> None:
    _, version = opened.board.since(0)
    opened.board.saw("gpu-1", 1.0)
    with events(opened, **{"Last-Event-ID": str(version)}) as told:
        assert next(told)[0] == "seen"
        assert next(told)[0] == "beat"


def test_two_browsers_look_at_once_and_leave_nothing_behind(opened: Opened) -> None:
    with events(opened) as one, events(opened) as other:
        assert next(one)[0] == next(other)[0] == "fleet"
        assert opened.board.viewers == 2
    until(lambda: opened.board.viewers == 0)


def test_nothing_of_a_host_can_act_on_who_reads_it(opened: Opened) -> None:
    opened.board.put("host", "gpu-2", {"name": "gpu-2", "says": "a\u202eb\x1b[2J\n" + "x" * 5000, "n": float("nan")})
    with events(opened) as told:
        value = next(value for kind, value in told if kind == "host" and "says" in value)
    assert value["says"].startswith("a\\u202eb\\u001b[2J") and len(value["says"]) < 2100 and value["n"] is None
