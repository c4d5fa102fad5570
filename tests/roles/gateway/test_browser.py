"""A browser, and bare websockets, at the gateway of a real host: they come as far as their login leads."""

import base64
import json
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, expect

from tests import browser
from tests.roles.gateway.asking import LOGIN, Asking

pytestmark = pytest.mark.lab


def test_a_websocket_is_refused_without_a_login_and_upgraded_with_one(gateway: Asking) -> None:
    for options in ("", "-H 'Cookie: __Host-sdfleet=guessed'", f"-u {':'.join(LOGIN)}"):
        line, body = gateway.handshake("/queue/join", options)
        assert line.startswith("HTTP/1.1 401"), line
        assert "send_hash" not in body
    line, body = gateway.handshake("/queue/join", gateway.cookie())
    assert line.startswith("HTTP/1.1 101"), line
    assert "send_hash" in body


def test_a_browser_logs_in_and_draws_over_the_queue(gateway: Asking, tmp_path: Path) -> None:
    address = gateway.seen_from_outside
    with browser.opened(tmp_path, gateway.pin(), within=gateway.light.lab.enter) as page:
        sockets = browser.handshakes(page)
        log_in(page, address, *LOGIN)
        expect(page).to_have_title("Light WebUI", timeout=60_000)
        page.locator("#generate").click()
        page.wait_for_function("document.getElementById('drawn').naturalWidth == 64", timeout=60_000)
        page.screenshot(path=tmp_path / "shown.png")
        shown = page.locator("#drawn").get_attribute("src")
        assert page.evaluate("document.cookie") == "", "a script of the page can read the session's cookie"
    assert sockets == {address.replace("https", "wss") + "/queue/join": 101}
    body = {"prompt": "a cat", "steps": 1, "width": 64, "height": 64, "seed": 1}
    asked = f"{gateway.cookie()} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
    picture = json.loads(gateway.curl("/sdapi/v1/txt2img", asked))["images"][0]
    assert shown == f"data:image/png;base64,{picture}"
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_a_browser_without_a_password_sees_nothing(gateway: Asking, tmp_path: Path) -> None:
    with browser.opened(tmp_path, gateway.pin(), within=gateway.light.lab.enter) as page:
        log_in(page, gateway.seen_from_outside, LOGIN[0], "wrong-password")
        expect(page.locator("body")).to_contain_text("Wrong name or password", timeout=60_000)


def test_a_browser_that_was_told_another_key_stays_away(gateway: Asking, tmp_path: Path) -> None:
    with (
        browser.opened(tmp_path, within=gateway.light.lab.enter) as page,
        pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"),
    ):
        page.goto(f"{gateway.seen_from_outside}/")


def log_in(page: Page, address: str, name: str, password: str) -> None:
    """As a person does: open the page, fill in the form, press its button."""
    page.goto(f"{address}/")
    expect(page).to_have_title("Log in", timeout=60_000)
    page.locator("[name=name]").fill(name)
    page.locator("[name=password]").fill(password)
    page.locator("form button").click()
