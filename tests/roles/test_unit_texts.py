"""The text of every unit, to the letter: a changed one restarts its service on every host.

A text that changes on purpose is written anew by `python -m tests.roles.test_unit_texts`.
"""

import re
import tempfile
from pathlib import Path

import pytest

from inventory.load import load
from roles.managers import SYSTEMD
from roles.operations.locks import Device
from roles.programs import digest
from tests.roles.test_hardening import units

KEPT = Path(__file__).resolve().parent / "units"
PLAIN = '[fleet]\nname = "f"\n[hosts.a]\naddress = "203.0.113.1"\n'
RICH = f"""{PLAIN}
[gateway]
tls = "acme"
domain = "sd.example.org"
[cache]
hold_tokens = true
[webui]
egress = ["10.0.0.0/8"]
flags = {{ medvram = true }}
options = {{ samples_save = false }}
[[webui.extensions]]
name = "a"
url = "https://github.com/o/a"
commit = "{"a" * 40}"
[comfyui]
egress = ["any"]
flags = {{ fp8_e4m3fn_unet = true, reserve_vram = 1.5 }}
[trainer]
peers = ["203.0.113.2"]
"""
FLEETS: dict[str, tuple[str, Device]] = {"cpu": (PLAIN, "cpu"), "cuda": (PLAIN, "cuda"), "rich": (RICH, "cuda")}
WEBUI_PROGRAM = "3ed22298693133af"
LOGIN_PROGRAM = "9781decf5697dff6"
"""Digests of the programs whose change restarts the WebUI and the gateway on every host at its next apply: new ones
belong into CHANGELOG.md."""


def rendered(folder: Path, fleet: str) -> dict[str, str]:
    """Texts of the units of a host by name; what follows from locks and programs is left out."""
    text, device = FLEETS[fleet]
    (folder / "fleet.toml").write_text(text)
    found = units(load(folder / "fleet.toml").hosts["a"], device, SYSTEMD)
    return {name: re.sub(r"\b[0-9a-f]{10,}\b", "#", text) for name, text in found.items()}


@pytest.mark.parametrize("fleet", FLEETS)
def test_units_are_the_same_to_the_letter(tmp_path: Path, fleet: str) -> None:
    kept = {file.name: file.read_text() for file in (KEPT / fleet).iterdir()}
    assert rendered(tmp_path, fleet) == kept


def test_no_other_version_of_a_program_restarts_a_service_by_mistake() -> None:
    assert (digest("webui_service"), digest("gateway_login")) == (WEBUI_PROGRAM, LOGIN_PROGRAM)


def main() -> None:
    """Write the texts anew."""
    for fleet in FLEETS:
        (KEPT / fleet).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            for name, text in rendered(Path(folder), fleet).items():
                (KEPT / fleet / name).write_text(text)


if __name__ == "__main__":
    main()
