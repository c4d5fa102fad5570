"""A browser, and bare websockets, at the gateway of a real host: they come as far as their login leads."""

import base64
import json
from pathlib import Path

import pytest

from tests import browser
from tests.roles.gateway.asking import LOGIN, Asking

pytestmark = pytest.mark.lab

DRAWN = "document.getElementById('drawn')"


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
    with browser.opened(tmp_path / "profile", gateway.pin(), within=gateway.light.lab.enter) as page:
        page.open(f"{address}/")
        page.wait_for("document.title == 'Log in'")
        page.value(
            f"(f => {{ f.name.value = '{LOGIN[0]}'; f.password.value = '{LOGIN[1]}' }})(document.forms[0].elements)"
        )
        page.value("document.forms[0].submit()")
        page.wait_for("document.title == 'Light WebUI'")
        page.value("document.getElementById('generate').click()")
        page.wait_for(f"{DRAWN}.naturalWidth == 64")
        page.picture(tmp_path / "shown.png")
        sockets, shown = page.sockets, page.value(f"{DRAWN}.src")
        assert page.value("document.cookie") == "", "a script of the page can read the session's cookie"
    assert sockets == {address.replace("https", "wss") + "/queue/join": 101}
    body = {"prompt": "a cat", "steps": 1, "width": 64, "height": 64, "seed": 1}
    asked = f"{gateway.cookie()} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"
    picture = json.loads(gateway.curl("/sdapi/v1/txt2img", asked))["images"][0]
    assert shown == f"data:image/png;base64,{picture}"
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_a_browser_without_a_password_sees_nothing(gateway: Asking, tmp_path: Path) -> None:
    with browser.opened(tmp_path / "profile", gateway.pin(), within=gateway.light.lab.enter) as page:
        page.open(f"{gateway.seen_from_outside}/")
        page.wait_for("document.title == 'Log in'")
        page.value("(f => { f.name.value = 'ann'; f.password.value = 'wrong-password' })(document.forms[0].elements)")
        page.value("document.forms[0].submit()")
        page.wait_for("document.body?.innerText.includes('Wrong name or password')")


def test_a_browser_that_was_told_another_key_stays_away(gateway: Asking, tmp_path: Path) -> None:
    with (
        browser.opened(tmp_path / "profile", within=gateway.light.lab.enter) as page,
        pytest.raises(AssertionError, match="ERR_CERT_AUTHORITY_INVALID"),
    ):
        page.open(f"{gateway.seen_from_outside}/")
