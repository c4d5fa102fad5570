"""A gateway in a rented container, on the one port that its provider opens, behind the provider's TLS."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomlkit
from playwright.sync_api import Page, expect

from lab import box
from lab.state import Rented
from tests import browser
from tests.light import fleet
from tests.light.fleet import LightFleet
from tests.roles.gateway import provider_proxy
from tests.roles.gateway.asking import LOGIN, PASSWORD, REQUESTS
from tests.roles.gateway.authority import Authority
from tests.roles.gateway.test_browser import log_in

pytestmark = pytest.mark.lab

NAME = "c1"
PATH = "/proxy/6006"
PORT = 8443
CURL = ("curl", "-s", "-k", "-m", "60", "--path-as-is")


@dataclass(frozen=True)
class Rental:
    """A container with the light WebUI and a gateway, and what its provider puts in front of it."""

    light: LightFleet

    @property
    def inside(self) -> str:
        """The gateway's port in the provider's network."""
        [host] = self.light.lab.hosts
        return f"{host.address}:6006"

    @property
    def public(self) -> str:
        """What people open."""
        return f"https://{self.light.lab.gateway}:{PORT}"

    def set(self, **gateway: object) -> bool:
        """Set settings of the gateway in fleet.toml; whether they are other ones."""
        document = tomlkit.parse(self.light.file.read_text())
        before = document.get("gateway")
        document["gateway"] = gateway
        self.light.file.write_text(tomlkit.dumps(document))
        return bool(before != document["gateway"])

    def set_behind_the_provider(self) -> bool:
        """The settings of the first apply; whether there were other ones."""
        return self.set(tls="provider", webui_port=6006, public_urls=[self.public])

    def apply(self) -> str:
        """Apply; what it says."""
        done = self.light.sdfleet("apply")
        print(f"apply: {done.seconds:.0f} s")
        assert done.code == 0, done.text
        return done.text

    def curl(self, *words: str) -> str:
        """What curl prints, run in the provider's network."""
        return self.light.lab.run_in_netns([*CURL, *words], timeout=120).stdout

    def status(self, *words: str) -> str:
        return self.curl("-o", "/dev/null", "-w", "%{http_code}", *words)

    def cookie(self, public: str) -> str:
        """The session's cookie that a login gives."""
        head = self.curl("-o", "/dev/null", "-D", "-", "-u", ":".join(LOGIN), f"{public}/sdfleet/login")
        given = [line.partition(":")[2].strip() for line in head.splitlines() if line.lower().startswith("set-cookie:")]
        return given[0].partition(";")[0]

    @contextlib.contextmanager
    def shown(self, *options: str) -> Iterator[None]:
        """The provider's proxy, with further options of it."""
        signed = Authority().sign(self.light.lab.gateway)
        files = {"certificate": signed.certificate, "key": signed.key}
        for name, text in files.items():
            (self.light.folder / name).write_text(text)
        words = [sys.executable, "-I", provider_proxy.__file__, "--listen", f"{self.light.lab.gateway}:{PORT}"]
        words += ["--to", self.inside, "--host", "127.0.0.1:6006", *options]
        words += [word for name in files for word in (f"--{name}", str(self.light.folder / name))]
        proxy = subprocess.Popen(self.light.lab.enter(words), stdout=subprocess.PIPE, text=True)
        try:
            assert proxy.stdout and proxy.stdout.readline() == "listening\n"
            yield
        finally:
            proxy.kill()
            proxy.wait()

    @contextlib.contextmanager
    def page(self, folder: Path, public: str) -> Iterator[Page]:
        """A browser that is logged in."""
        with browser.opened(folder, "--ignore-certificate-errors", within=self.light.lab.enter) as page:
            log_in(page, public, *LOGIN)
            expect(page).to_have_title("Light WebUI", timeout=60_000)
            yield page


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rental]:
    """One after a first apply."""
    folder = tmp_path_factory.mktemp("rental")
    with box.attached(hosts=0, containers=(Rented(provider="autodl"),)) as lab:
        made = Rental(fleet.written(lab, folder))
        document = tomlkit.parse(made.light.file.read_text())
        document["fleet"]["data_root"] = "/root/autodl-tmp/sdfleet"
        document["hosts"][NAME]["groups"] = ["webui", "gateway"]
        document["secrets"] = {"gateway_logins": {"file": "logins"}}
        made.light.file.write_text(tomlkit.dumps(document))
        (folder / "logins").write_text(f"{LOGIN[0]}:{PASSWORD}\n")
        (folder / "logins").chmod(0o600)
        made.set_behind_the_provider()
        assert (done := made.light.sdfleet("trust", NAME)).code == 0, done.text
        said = made.apply()
        assert f"WebUI {made.public}/ (port 6006 here); TLS is the provider's" in said
        yield made


@pytest.fixture
def rental(applied: Rental) -> Rental:
    """It behind the provider's TLS, whatever the test before has made of it."""
    if applied.set_behind_the_provider():
        applied.apply()
    return applied


def test_a_second_apply_changes_nothing_and_verify_finds_nothing(rental: Rental) -> None:
    again = rental.light.sdfleet("apply")
    assert again.code == 0 and again.cell(NAME, "changed") == "0", again.text
    assert (done := rental.light.sdfleet("verify")).code == 0, done.text


def test_nobody_gets_in_on_the_port_and_no_other_one_is_open(rental: Rental) -> None:
    statuses = {path: rental.status(f"http://{rental.inside}{path}") for path in REQUESTS}
    assert set(statuses.values()) <= {"401", "404", "400"}, statuses
    opened = rental.light.on(NAME, "ss -Hltn | awk '{print $4}'").split()
    outside = {place.rpartition(":")[2] for place in opened if not place.startswith(("127.", "[::1]"))}
    assert outside == {"22", "6006"}, opened
    user = rental.light.on(NAME, "ps -o user= -C nginx | sort -u")
    assert user == "sdgatew+" or user == "sdgateway", user


def test_a_browser_draws_over_the_providers_tls(rental: Rental, tmp_path: Path) -> None:
    with rental.shown(), rental.page(tmp_path, rental.public) as page:
        assert rental.status(f"{rental.public}/config") == "401"
        sockets = browser.handshakes(page)
        page.locator("#generate").click()
        page.wait_for_function("document.getElementById('drawn').naturalWidth == 64", timeout=60_000)
        assert page.evaluate("document.cookie") == ""
    assert sockets == {f"wss://{rental.light.lab.gateway}:{PORT}/queue/join": 101}
    log = rental.light.sdfleet("logs", NAME, "gateway").text
    assert "ann logged in" in log and "401 GET /config" in log and PASSWORD not in log


def test_pages_of_others_are_refused_and_so_is_one_that_was_opened_without_tls(rental: Rental) -> None:
    with rental.shown():
        session = ("-H", f"Cookie: {rental.cookie(rental.public)}")
        origins = (rental.public, f"http://{rental.inside}", "null", "https://elsewhere.invalid", rental.public[:-1])
        found = [rental.status(*session, "-H", f"Origin: {origin}", f"{rental.public}/") for origin in origins]
    assert found == ["200", "403", "403", "403", "403"]


def test_a_proxy_that_ends_long_requests_ends_no_picture_of_the_page(rental: Rental, tmp_path: Path) -> None:
    with rental.shown("--first-byte", "3"):
        session = ("-H", f"Cookie: {rental.cookie(rental.public)}")
        order = json.dumps({"prompt": "a cat", "steps": 600, "width": 64, "height": 64, "seed": 1})
        asked = ("-H", "Content-Type: application/json", "-d", order, f"{rental.public}/sdapi/v1/txt2img")
        assert rental.status(*session, *asked) == "524"
        with rental.page(tmp_path, rental.public) as page:
            page.locator("#prompt").fill("after 6 s")
            began = time.monotonic()
            page.locator("#generate").click()
            page.wait_for_function("document.getElementById('drawn').naturalWidth == 64", timeout=60_000)
            assert time.monotonic() - began > 6


def test_it_is_up_again_after_a_stop_of_the_container(rental: Rental) -> None:
    rental.light.lab.stop(NAME)
    rental.light.lab.start(NAME)
    began = time.monotonic()
    while rental.curl(f"http://{rental.inside}/sdfleet/health") != "ok\n":
        assert time.monotonic() - began < 120, rental.light.sdfleet("logs", NAME, "gateway").text
        time.sleep(0.5)
    print(f"healthy after {time.monotonic() - began:.0f} s")


@pytest.mark.parametrize("passed_on", [False, True], ids=["taken away", "passed on"])
def test_all_stays_below_the_path_of_the_providers_page(rental: Rental, tmp_path: Path, passed_on: bool) -> None:
    public = f"{rental.public}{PATH}"
    rental.set(tls="provider", webui_port=6006, public_urls=[public])
    rental.apply()
    with rental.shown("--path", PATH, *(["--keep-path"] if passed_on else [])):
        with rental.page(tmp_path, public) as page:
            assert page.url == f"{public}/"
            sockets = browser.handshakes(page)
            page.locator("#generate").click()
            page.wait_for_function("document.getElementById('drawn').naturalWidth == 64", timeout=60_000)
            page.goto(f"{public}/sdfleet/logout")
            page.locator("form button").click()
            expect(page).to_have_title("Log in", timeout=60_000)
        assert sockets == {f"{public.replace('https', 'wss')}/queue/join": 101}
        inner = ("/sdfleet/probe", "/sdfleet/session", "/%73dfleet/probe", f"{PATH}/sdfleet/session")
        assert {rental.status(f"{public}{path}") for path in inner} <= {"401", "404"}
    assert (done := rental.light.sdfleet("verify")).code == 0, done.text


def test_a_certificate_of_its_own_and_low_ports_work_there_too(rental: Rental) -> None:
    rental.set()
    assert "fingerprint" in rental.apply()
    address = rental.inside.partition(":")[0]
    assert rental.status(f"https://{address}/") == "401"
    assert rental.status(f"http://{address}/") == "301"
    assert (done := rental.light.sdfleet("verify")).code == 0, done.text
    rental.set(tls="acme", domain="sd.example.org")
    refused = rental.light.sdfleet("apply")
    assert refused.code == 1 and 'gateway.tls: "acme" needs systemd' in refused.text, refused.text
    rental.set(enabled=False)
    rental.apply()
    assert rental.status(f"https://{address}/") == "000"
    left = rental.light.on(NAME, "ls -d /etc/sdfleet/gateway /run/sdfleet-gateway /var/cache/sdfleet-gateway || true")
    assert left == "", left
