"""A gateway in front of a WebUI, on a real host: who comes in, who does not, and what is seen of passwords."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.light.fleet import LightFleet
from tests.roles.gateway.asking import PASSWORD, Asking

pytestmark = pytest.mark.lab

REQUESTS = [
    "/",
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/sdapi/v1/options",
    "/sdapi/v1/sd-models",
    "/sdapi/v1/loras",
    "/sdapi/v1/refresh-loras",
    "/sdapi/v1/progress",
    "/sdapi/v1/server-kill",
    "/internal/ping",
    "/internal/sysinfo",
    "/internal/sysinfo-download",
    "/file=/etc/passwd",
    "/file=/srv/sdfleet/data/webui/config.json",
    "/file=/etc/sdfleet/secrets/gateway_logins",
    "/file=../../../etc/shadow",
    "//sdapi/v1/loras",
    "/%73dapi/v1/loras",
    "/sdfleet/../sdapi/v1/loras",
    "/sdfleet/health/../../internal/sysinfo",
    "/sdfleet/probe",
    "/queue/join",
    "/queue/data",
    "/docs",
    "/openapi.json",
]


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
    assert len(REQUESTS) == 25
    answers = {path: status(light, path) for path in REQUESTS}
    assert set(answers.values()) <= {"400", "401", "404"}, answers
    assert status(light, "/sdfleet/health") == "200"
    assert status(light, "/sdfleet/login") == "401"
    assert status(light, "/sdapi/v1/loras", "-H 'Cookie: __Host-sdfleet=guessed'") == "401"


def test_every_other_port_is_on_loopback(light: LightFleet) -> None:
    listening = [line.split()[3] for line in light.on("h1", "ss -Hltn").splitlines()]
    open_to_all = {place.rpartition(":")[2] for place in listening if not place.startswith(("127.", "[::1]"))}
    assert open_to_all <= {"22", "80", "443"}, listening


def test_a_login_opens_the_webui_and_draws_a_picture(light: LightFleet) -> None:
    body = '{"prompt":"a cat","steps":1,"width":64,"height":64,"seed":1}'
    gateway = Asking(light)
    cookie = gateway.cookie()
    assert cookie
    drawn = gateway.curl("/sdapi/v1/txt2img", f"{cookie} -H 'Content-Type: application/json' -d '{body}'")
    assert '"images"' in drawn


def test_guessing_is_slowed_down(light: LightFleet) -> None:
    answers = [status(light, "/sdfleet/login", "-u ann:wrong") for _ in range(14)]
    assert "429" in answers and set(answers) <= {"401", "429"}


def test_the_password_is_seen_nowhere(light: LightFleet) -> None:
    host = light.lab.ssh("h1", f"grep -rlF {PASSWORD} /etc /srv /var /run /home /tmp 2>/dev/null").stdout.split()
    assert host == []
    assert PASSWORD not in light.on("h1", "journalctl --no-pager --output=cat | grep -v 'curl '")
    assert PASSWORD not in subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True).stdout
    assert not [file for file in Path(light.folder).glob("*.lock*") if PASSWORD in file.read_text()]


def test_the_units_are_hardened(light: LightFleet) -> None:
    units = light.on("h1", "ls /etc/systemd/system | grep -E '^(sdfleet|lora)-?.*[.]service$'").split()
    exposure = {}
    for unit in units:
        last = light.on("h1", f"systemd-analyze security --no-pager {unit} | tail -1")
        exposure[unit] = float(re.search(r": ([\d.]+)", last)[1])  # type: ignore[index]
    print(exposure)
    assert exposure["sdfleet-webui.service"] <= 2.5
    assert exposure["sdfleet-gateway.service"] <= 2.5
