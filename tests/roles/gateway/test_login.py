"""The gateway's login program: sessions that end, guesses that are slowed, and the right password that gets in."""

import contextlib
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from roles.gateway import logins
from roles.gateway.logins import LoginError, parse_logins, users_file
from roles.onhost import login_authentication, login_guesses, login_server
from roles.onhost.login_authentication import Authenticator, matches, read_users
from roles.onhost.login_guesses import Guesses, TooMany, network
from roles.onhost.login_server import Server
from roles.onhost.login_sessions import Sessions

pytestmark = pytest.mark.slow

PASSWORD = "correct-horse-58"
USERS = read_users(users_file({"ann": PASSWORD, "bob": "another-horse-77"}, ""))
QUICK_COST = 2**10
"""For hashes whose cost is not what is tested: the real one takes a third of a second."""


class Answer:
    """Status, headers and cookies of an answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.body = response.status, response.read().decode()
        self.place = response.getheader("Location", "")
        given = (line.partition(";")[0].partition("=") for line in response.headers.get_all("Set-Cookie", []))
        self.cookies = {name: value for name, _, value in given}
        self.name = response.getheader("X-Sdfleet-User", "")


class Client:
    """Asks the program as nginx does."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def ask(self, method: str, path: str, body: str = "", headers: Mapping[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("login")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.place))
        connection.request(method, path, body or None, {"X-Real-IP": "203.0.113.1", **(headers or {})})
        return Answer(connection.getresponse())

    def log_in(self, password: str = PASSWORD, name: str = "ann", to: str = "/", **headers: str) -> Answer:
        return self.ask("POST", "/sdfleet/login", urlencode({"name": name, "password": password, "next": to}), headers)

    def who(self, answer: Answer) -> str:
        cookies = "; ".join(f"{name}={value}" for name, value in answer.cookies.items())
        return self.ask("GET", "/session", headers={"Cookie": f"a=b; {cookies}"}).name


@pytest.fixture
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "COST", QUICK_COST)


@pytest.fixture
def client(tmp_path: Path, quick_hashes: None) -> Iterator[Client]:
    place = tmp_path / "login.sock"
    users = read_users(users_file({"ann": PASSWORD, "bob": "another-horse-77"}, ""))
    with Server(place, users, hours=1, attempts=10) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Client(place)
        server.shutdown()


def test_each_login_has_a_session_of_its_own_and_leaves_it(client: Client) -> None:
    first, second = client.log_in(), client.log_in()
    assert first.status == 303 and first.cookies["__Host-sdfleet"] != second.cookies["__Host-sdfleet"]
    assert (client.who(first), client.who(second)) == ("ann", "ann")
    left = client.ask(
        "POST", "/sdfleet/logout", headers={"Cookie": f"__Host-sdfleet={first.cookies['__Host-sdfleet']}"}
    )
    assert left.status == 303 and left.cookies == {"__Host-sdfleet": ""}
    assert (client.who(first), client.who(second)) == ("", "ann"), "a logout ends one session, and only on the server"
    assert client.ask("GET", "/session", headers={"Cookie": "__Host-sdfleet=guessed"}).status == 401
    assert client.ask("GET", "/session").status == 401


@pytest.mark.usefixtures("quick_hashes")
def test_a_session_ends_by_itself_and_with_its_password_and_outlives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    word = Sessions(file, USERS, 60).open("ann")
    assert word not in file.read_text(), "who reads the file could take over a session"
    assert Sessions(file, USERS, 60).name_of(word) == "ann"
    other = read_users(users_file({"ann": "a-new-password"}, ""))
    assert Sessions(file, other, 60).name_of(word) == ""
    assert Sessions(file, {"bob": USERS["bob"]}, 60).name_of(word) == ""
    brief = Sessions(tmp_path / "brief.json", USERS, 0.05)
    word = brief.open("ann")
    time.sleep(0.06)
    assert brief.name_of(word) == ""
    for damage in ("", "[]", '{"a": 1}', '{"a": {"name": []}}', "{"):
        file.write_text(damage)
        assert Sessions(file, USERS, 60).open("ann")


def test_a_device_is_no_session(client: Client) -> None:
    device = client.log_in().cookies[login_server.DEVICE]
    assert client.ask("GET", "/session", headers={"Cookie": f"__Host-sdfleet={device}"}).status == 401


@pytest.mark.parametrize(
    "wanted", ["//evil", "/\\evil", "https://evil/", "javascript:x", "", "/a\r\nSet-Cookie: b", "/\u20ac"]
)
def test_a_login_leads_nowhere_else(client: Client, wanted: str) -> None:
    answer = client.log_in(to=wanted)
    assert (answer.status, answer.place) == (303, "/")
    assert client.log_in(to="/?a=1&b=2").place == "/?a=1&b=2"


def test_what_is_no_login_is_refused(client: Client) -> None:
    form = client.ask("GET", "/sdfleet/login?next=/%22%3E<script>")
    assert form.status == 200 and "<script>" not in form.body
    assert client.log_in("wrong").status == 401
    assert client.ask("POST", "/sdfleet/login", "name=ann").status == 401
    assert client.ask("POST", "/sdfleet/login", "x" * 9000).status == 413
    for given in ("Basic", "Basic !!", "Basic /w==", "Bearer x", "Basic YW5u"):
        assert client.ask("GET", "/sdfleet/login", headers={"Authorization": given}).status in (200, 401)


def test_a_form_that_is_too_large_is_read_before_it_is_refused(client: Client) -> None:
    """Who still sends would find the connection closed, and have no answer."""
    connection = http.client.HTTPConnection("login")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(client.place))
    connection.putrequest("POST", "/sdfleet/login")
    connection.putheader("Content-Length", "9000")
    connection.endheaders()
    time.sleep(0.3)
    connection.send(b"x" * 9000)
    assert connection.getresponse().status == 413


def quick(authenticator: Authenticator, pause: float = 0.02) -> Authenticator:
    authenticator.guesses.pause = pause
    return authenticator


def authenticator(folder: Path, a_minute: int = 10) -> Authenticator:
    return quick(Authenticator(USERS, Sessions(folder / "sessions.json", USERS, 60), a_minute))


def guess(of: Authenticator, address: str, times: int, name: str = "ann") -> list[float]:
    """Seconds of each of so many wrong passwords, one after another."""
    took = []
    for number in range(times):
        began = time.monotonic()
        assert not of.attempt(name, f"wrong-{number}", address, "")
        took.append(time.monotonic() - began)
    return took


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that costs nothing, where its cost is not what is tested."""
    monkeypatch.setattr(
        login_authentication, "matches", lambda password, stored: password == PASSWORD and stored == USERS["ann"]
    )


@pytest.mark.usefixtures("cheap")
def test_the_right_password_gets_in_after_forty_wrong_ones(tmp_path: Path) -> None:
    tried = authenticator(tmp_path)
    took = guess(tried, "203.0.113.1", 40)
    assert min(took[11:]) >= 0.02 > max(took[:9]), "guesses beyond the first are not slowed"
    began = time.monotonic()
    assert tried.attempt("ann", PASSWORD, "203.0.113.1", "")
    assert time.monotonic() - began < 1


@pytest.mark.usefixtures("cheap")
def test_guesses_at_once_wait_and_are_sent_away(tmp_path: Path) -> None:
    tried = quick(authenticator(tmp_path), 1)
    results: list[bool | type] = []

    def one() -> None:
        try:
            results.append(tried.attempt("ann", "wrong", "203.0.113.1", ""))
        except TooMany:
            results.append(TooMany)

    threads = [threading.Thread(target=one) for _ in range(40)]
    for thread in threads:
        thread.start()
    assert not tried.attempt("bob", "wrong", "203.0.113.2", ""), "others wait with them"
    for thread in threads:
        thread.join()
    assert results.count(False) == 15 and results.count(TooMany) == 25, results
    assert tried.attempt("ann", PASSWORD, "203.0.113.1", "")


@pytest.mark.usefixtures("cheap")
def test_a_few_addresses_that_guess_at_a_name_do_not_keep_its_owner_out(tmp_path: Path) -> None:
    tried = quick(authenticator(tmp_path), 1)
    for number in range(5):  # of which each has one guess as somebody new
        guess(tried, f"203.0.113.{number}", 1)
    threads = []
    for number in range(40):
        wrong = ("ann", f"wrong-{number}", f"203.0.113.{number % 5}", "")
        threads.append(threading.Thread(target=lambda wrong=wrong: _ignored(tried, *wrong), daemon=True))
        threads[-1].start()
    time.sleep(0.2)  # now five wait in the name's lane, and others are sent away
    with pytest.raises(TooMany):
        tried.attempt("ann", "wrong", "203.0.113.1", "")
    began = time.monotonic()
    assert tried.attempt("ann", PASSWORD, "198.51.100.7", "")
    assert time.monotonic() - began < 0.5, "the owner waited behind them"
    assert tried.attempt("ann", PASSWORD, "198.51.100.7", ""), "and is no guesser now"
    for thread in threads:
        thread.join()


def _ignored(of: Authenticator, *attempt: str) -> None:
    with contextlib.suppress(TooMany):
        of.attempt(*attempt)


@pytest.mark.usefixtures("cheap")
def test_many_attempts_at_once_of_one_address_are_one_new_guess(tmp_path: Path) -> None:
    tried = authenticator(tmp_path)
    now = time.monotonic()
    assert [tried.guesses.is_new("203.0.113.1", now + number) for number in range(4)] == [True, False, False, False]
    assert not tried.guesses.is_new("203.0.113.1", now + 3000) and tried.guesses.is_new("203.0.113.1", now + 9000)
    for number in range(30000):
        tried.guesses.is_new(f"address {number}", now + number / 1000)
    assert len(tried.guesses._wrong) <= login_guesses.KEYS


@pytest.mark.usefixtures("cheap")
def test_guesses_of_many_addresses_keep_nobody_out_who_was_in_before(tmp_path: Path) -> None:
    tried = quick(authenticator(tmp_path, a_minute=3), 30)
    device = tried.sessions.open("ann", "device")
    for number in range(3):
        guess(tried, f"203.0.113.{number}", 1)
    began = time.monotonic()
    assert tried.attempt("ann", PASSWORD, "203.0.113.1", device)
    assert time.monotonic() - began < 1
    foreign = tried.sessions.open("bob", "device")
    slow = threading.Thread(target=lambda: tried.attempt("ann", "wrong", "203.0.113.9", foreign), daemon=True)
    slow.start()
    slow.join(0.2)
    assert slow.is_alive(), "another's device jumps the queue"


def test_limits_count_ipv6_by_its_network_and_forget() -> None:
    assert network("2001:db8:1:2::5") == network("2001:db8:1:2:ffff::1") != network("2001:db8:1:3::5")
    assert network("nonsense") == "nonsense"
    guesses = Guesses(10)
    for number in range(login_guesses.KEYS + 5):
        guesses._failed[str(number)] = [time.monotonic() - 100]
    with guesses.turn(["name ann"]):
        assert len(guesses._failed) == 1


def test_unknown_names_cost_the_same_hash_as_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def scrypt(password: bytes, salt: bytes, **cost: int) -> bytes:
        made.append({"salt": len(salt), **cost})
        return bytes(32)

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    tried = authenticator(tmp_path, a_minute=1000)
    assert not tried.attempt("ann", "wrong", "203.0.113.1", "")
    assert not tried.attempt("nobody", "wrong", "203.0.113.1", ""), "a hash of zeros lets nobody in"
    assert len(made) == 2 and made[0] == made[1] and made[0]["n"] == 2**15


@pytest.mark.usefixtures("quick_hashes")
def test_logins_of_the_fleet() -> None:
    assert parse_logins(f"ann:{PASSWORD}\n\nBob.b@x:{'y' * 10}\n") == {"ann": PASSWORD, "Bob.b@x": "y" * 10}
    bad = {
        "": "nobody may log in",
        "ann": "line 1: must be NAME:PASSWORD",
        f"a b:{PASSWORD}": "line 1: must be NAME:PASSWORD",
        f"../x:{PASSWORD}": "line 1: must be NAME:PASSWORD",
        f"ann:{PASSWORD}\nann:{PASSWORD}": "line 2: a second login ann",
        f"anna:{PASSWORD}\nAnna:{PASSWORD}": "line 2: Anna differs from the login anna only in case",
        "ann:short": "line 1: the password of ann must have 10 to 128 bytes",
    }
    for text, expected in bad.items():
        with pytest.raises(LoginError, match=expected) as caught:
            parse_logins(text)
        assert PASSWORD not in str(caught.value)
    # Names that nginx's maps would have taken for their own words are names like any other now.
    assert set(read_users(users_file(parse_logins(f"default:{PASSWORD}\ninclude:{PASSWORD}"), ""))) == {
        "default",
        "include",
    }


@pytest.mark.usefixtures("quick_hashes")
def test_a_hash_stays_while_its_password_does() -> None:
    first = users_file({"ann": PASSWORD}, "")
    assert users_file({"ann": PASSWORD, "bob": PASSWORD}, first).startswith(first.rstrip("\n"))
    assert users_file({"ann": "another-password"}, first) != first
    assert users_file({"ann": PASSWORD}, "ann:$2b$12$old") != "ann:$2b$12$old", "a hash of an older gateway is replaced"
    assert PASSWORD not in first and matches(PASSWORD, read_users(first)["ann"])
    assert json.dumps(first).count(f"scrypt${QUICK_COST}$8$3$") == 1


def test_the_shipped_hash_costs_what_it_should() -> None:
    assert {stored.rsplit("$", 2)[0] for stored in USERS.values()} == {"scrypt$32768$8$3"}
    assert matches(PASSWORD, USERS["ann"]) and not matches("wrong", USERS["ann"])
