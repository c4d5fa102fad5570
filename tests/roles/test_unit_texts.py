"""The text of every unit, to the letter: a changed one restarts its service on every host.

A text that changes on purpose is written anew by `python -m tests.roles.test_unit_texts`.
"""

import re
import tempfile
from pathlib import Path

import pytest

from inventory.load import load
from roles.lora_scripts.service import Device
from tests.roles.test_hardening import CARDS, texts

KEPT = Path(__file__).resolve().parent / "units"
TRANSIENT = " "
"""What is started without a unit's file has a name with blanks."""


def rendered(folder: Path, device: Device) -> dict[str, str]:
    """Texts of the units of a plain host by name; what follows from locks and programs is left out."""
    (folder / "fleet.toml").write_text('[fleet]\nname = "f"\n[hosts.a]\naddress = "203.0.113.1"\n')
    found = texts(load(folder / "fleet.toml").hosts["a"], device)
    return {name: re.sub(r"\b[0-9a-f]{10,}\b", "#", text) for name, text in found.items() if TRANSIENT not in name}


@pytest.mark.parametrize("device", CARDS)
def test_units_are_the_same_to_the_letter(tmp_path: Path, device: Device) -> None:
    kept = {file.name: file.read_text() for file in (KEPT / device).iterdir()}
    assert rendered(tmp_path, device) == kept


def main() -> None:
    """Write the texts anew."""
    for device in CARDS:
        (KEPT / device).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            for name, text in rendered(Path(folder), device).items():
                (KEPT / device / name).write_text(text)


if __name__ == "__main__":
    main()
