"""A gateway in front of a WebUI, on a real host: who comes in, who does not, and what is seen of passwords."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomlkit

from tests.light import fleet
from tests.light.fleet import LightFleet

pytestmark = pytest.mark.lab

PASSWORD = "correct-horse-canary-58"
BASE = "https://127.0.0.1"

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


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """One host with the light WebUI and a gateway."""
    with fleet.running(tmp_path_factory.mktemp("gateway"), hosts=1) as running:
        document = tomlkit.parse(running.file.read_text())
        document["hosts"]["h1"]["groups"] = ["webui", "gateway"]
        document["secrets"] = {"gateway_logins": {"file": "logins"}}
        running.file.write_text(tomlkit.dumps(document))
        (running.folder / "logins").write_text(f"ann:{PASSWORD}\n")
        (running.folder / "logins").chmod(0o600)
        assert running.sdfleet("lock").code == 0
        done = running.sdfleet("apply")
        assert done.code == 0, done.text
        assert "fingerprint" in done.text.lower()
        assert PASSWORD not in done.text
        yield running


def status(light: LightFleet, path: str, *options: str) -> str:
    """The status code that the gateway gives, asked on the host."""
    words = " ".join(("-s -k -m 60 --path-as-is -o /dev/null -w '%{http_code}'", *options))
    return light.on("h1", f"curl {words} '{BASE}{path}'")


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
    jar = "/root/jar"
    assert status(light, "/sdfleet/login", f"-u ann:{PASSWORD} -c {jar}") == "302"
    drawn = light.on(
        "h1",
        f"curl -s -k -m 60 -b {jar} -H 'Content-Type: application/json' "
        f"""-d '{{"prompt":"a cat","steps":1,"width":64,"height":64,"seed":1}}' {BASE}/sdapi/v1/txt2img""",
    )
    assert '"images"' in drawn
    light.on("h1", f"rm {jar}")


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
