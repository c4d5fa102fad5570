"""A gateway in front of a WebUI, on a real host: who comes in, who does not, and what is seen of passwords."""

import collections
import subprocess
import time
from pathlib import Path

import pytest

from tests.light.fleet import LightFleet
from tests.roles import hardening
from tests.roles.gateway.asking import NOTHING, PASSWORD, REFUSED, REQUESTS, Asking

pytestmark = pytest.mark.lab


def status(light: LightFleet, path: str, options: str = "") -> str:
    """The status code that the gateway gives, asked on the host."""
    return Asking(light).status(path, options)


def test_second_apply_changes_nothing_and_verify_is_green(light: LightFleet) -> None:
    again = light.sdfleet("apply")
    assert again.code == 0, again.text
    assert (again.cell("h1", "result"), again.cell("h1", "changed")) == ("ok", "0"), again.text
    verified = light.sdfleet("verify")
    assert verified.code == 0, verified.text


def test_nothing_answers_without_a_login_but_login_and_health(light: LightFleet) -> None:
    assert set(Asking(light).table("https://127.0.0.1").values()) <= REFUSED
    assert status(light, "/sdfleet/health") == "200"
    assert status(light, "/sdfleet/login") == "200"
    assert status(light, "/sdapi/v1/loras", "-H 'Cookie: __Host-sdfleet=guessed'") == "401"


def test_no_port_of_the_host_answers_others_without_a_login(light: LightFleet) -> None:
    listening = [line.split()[3].rpartition(":") for line in light.on("h1", "ss -Hltn").splitlines()]
    ports = {int(port) for _, _, port in listening}
    open_to_all = {int(port) for address, _, port in listening if not address.startswith(("127.", "[::1]"))}
    assert {22, 80, 443, 7860} <= ports, "the table has nothing to ask"
    assert open_to_all <= {22, 80, 443}, listening
    gateway = Asking(light)
    seen = {
        f"{scheme}://{gateway.address}:{port}": gateway.table(f"{scheme}://{gateway.address}:{port}", outside=True)
        for port in sorted(ports)
        for scheme in ("http", "https")
    }
    print(f"\n{sum(map(len, seen.values()))} requests on {len(ports)} ports, http and https:")
    for base, answers in seen.items():
        print(f"  {base}: {dict(collections.Counter(answers.values()))}")
    assert len(REQUESTS) == 25 and all(len(answers) == 25 for answers in seen.values())
    web, plain = f"https://{gateway.address}:443", f"http://{gateway.address}:80"
    assert set(seen.pop(web).values()) <= REFUSED
    # The plain port names the other one, and has nothing of its own.
    assert set(seen.pop(plain).values()) <= {"301", "400"}
    assert set(seen.pop(f"http://{gateway.address}:443").values()) == {"400"}
    assert {status for answers in seen.values() for status in answers.values()} == {NOTHING}


def test_a_login_opens_the_webui_and_draws_a_picture(light: LightFleet) -> None:
    body = '{"prompt":"a cat","steps":1,"width":64,"height":64,"seed":1}'
    gateway = Asking(light)
    cookie = gateway.cookie()
    assert cookie
    drawn = gateway.curl("/sdapi/v1/txt2img", f"{cookie} -H 'Content-Type: application/json' -d '{body}'")
    assert '"images"' in drawn


def test_the_password_is_seen_nowhere(light: LightFleet) -> None:
    gateway = Asking(light)
    told = gateway.curl("/internal/sysinfo", gateway.cookie())
    assert "Environment" in told and PASSWORD not in told
    found = light.lab.ssh("h1", f"grep -rlF {PASSWORD} /etc /srv /var /run /home /tmp 2>/dev/null").stdout.split()
    assert found == []
    assert PASSWORD not in light.on("h1", "journalctl --no-pager --output=cat | grep -v 'curl '")
    assert PASSWORD not in light.on("h1", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '")
    assert PASSWORD not in subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True).stdout
    assert not [file for file in Path(light.folder).glob("*.lock*") if PASSWORD in file.read_text()]


def test_the_units_are_hardened(light: LightFleet) -> None:
    assert {"sdfleet-webui.service", "sdfleet-gateway.service"} <= hardening.on_host(light, "h1").keys()


def origin(gateway: Asking, place: str) -> str:
    return f"{gateway.cookie()} -H 'Origin: {place}'"


def test_another_sites_page_cannot_use_a_session(gateway: Asking) -> None:
    other_port = "https://127.0.0.1:8443"
    for foreign in ("https://evil.example", "null", other_port, "https://127.0.0.1.evil.example", "http://127.0.0.1"):
        line, body = gateway.handshake("/queue/join", origin(gateway, foreign))
        assert line.startswith("HTTP/1.1 403"), (foreign, line)
        assert "send_hash" not in body
        assert gateway.status("/sdapi/v1/options", f"-X POST -d '{{}}' {origin(gateway, foreign)}") == "403"
        assert gateway.status("/sdfleet/logout", f"-X POST {origin(gateway, foreign)}") == "403"
    line, _ = gateway.handshake("/queue/join", origin(gateway, gateway.base))
    assert line.startswith("HTTP/1.1 101"), line
    assert gateway.status("/internal/ping", origin(gateway, gateway.base)) == "200"


def test_plain_http_leads_to_the_host_itself(gateway: Asking) -> None:
    head = gateway.light.on("h1", "curl -s -D - -o /dev/null -H 'Host: evil.example' http://127.0.0.1/a?b")
    assert "evil" not in head and "301" in head.splitlines()[0], head
    assert gateway.light.on("h1", "curl -s -o /dev/null -w '%{redirect_url}' http://127.0.0.1/a?b").endswith(":443/a?b")


def test_a_session_ends_with_its_logout_and_outlives_a_restart(gateway: Asking) -> None:
    first, second = gateway.cookie(), gateway.cookie()
    assert first and first != second
    gateway.light.on("h1", "systemctl restart sdfleet-gateway")
    assert (gateway.status("/internal/ping", first), gateway.status("/internal/ping", second)) == ("200", "200")
    assert gateway.status("/sdfleet/logout", f"-X POST {first}") == "303"
    assert (gateway.status("/internal/ping", first), gateway.status("/internal/ping", second)) == ("401", "200")
    stored = gateway.light.on("h1", "cat /run/sdfleet-gateway/sessions.json")
    assert second.partition("=")[2].strip("'") not in stored


def test_the_limits_of_the_unit_hold_its_connections(light: LightFleet) -> None:
    process = light.on("h1", "systemctl show sdfleet-gateway --property=MainPID --value")
    limit = light.on("h1", f"grep 'open files' /proc/{process}/limits").split()[3]
    assert int(limit) >= 4096
    assert "exceed open file" not in light.on("h1", "journalctl -u sdfleet-gateway --output=cat --no-pager")


def test_guessing_is_slowed_down_and_the_right_password_gets_in(gateway: Asking) -> None:
    # All at once: on a busy machine single ones come slowly enough to be let through.
    url = f"-o /dev/null {gateway.base}/sdfleet/login "
    curl = f"curl -s -k -m 60 -Z --parallel-max 40 -u ann:wrong -w '%{{http_code}}\\n' {url * 40}"
    answers = gateway.light.on("h1", curl).split()
    assert len(answers) == 40
    assert "429" in answers and set(answers) <= {"401", "429"}
    began = time.monotonic()
    assert gateway.cookie(), "forty wrong passwords keep the right one out"
    assert time.monotonic() - began < 15
