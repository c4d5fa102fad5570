"""The first update of a host: what its WebUI wrote at its very first start is no reason to refuse the next release."""

from pathlib import Path

import pytest

from tests.light import fleet
from tests.light.fleet import INVOCATION, ROOT, LightFleet

pytestmark = pytest.mark.lab

UNNAMED = "fatal: No names found, cannot describe anything."


def journal(light: LightFleet) -> list[str]:
    """What the WebUI wrote since its last start."""
    return light.on("h1", f"journalctl _SYSTEMD_INVOCATION_ID=$({INVOCATION}) --output=cat --no-pager").splitlines()


def test_a_complaint_that_was_glued_to_another_line_at_the_first_start_is_no_news(tmp_path: Path) -> None:
    with fleet.running(tmp_path, 1) as light:
        light.on("h1", f"rm {ROOT}/data/webui/cache/hashed && systemctl restart sdfleet-webui")
        glued = [line for line in journal(light) if line.startswith("Calculating sha256 for ")]
        assert [line.endswith(f": {UNNAMED}") for line in glued] == [True], journal(light)
        assert UNNAMED not in journal(light)
        old = light.release("h1")
        light.publish("good", 2)
        done = light.sdfleet("update", "webui")
        assert done.code == 0 and "Updated 1 host(s)" in done.text, done.text
        assert light.release("h1") != old
        assert UNNAMED in journal(light), "the new release writes it on a line of its own"
