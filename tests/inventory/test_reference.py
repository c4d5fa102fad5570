"""The settings page is the code's own account of itself."""

from pathlib import Path

from inventory import reference
from inventory.model import ROLE_TABLES, FleetTable, HostTable
from inventory.secrets import Secrets
from roles.models.config import Model
from roles.settings import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == reference.text(), "run: sdfleet schema --markdown > docs/settings.md"


def test_every_setting_has_a_sentence() -> None:
    kinds: tuple[type[Settings], ...] = (FleetTable, HostTable, Secrets, Model, *ROLE_TABLES.values())
    silent = [f"{kind.__name__}.{name}" for kind in kinds for name, f in kind.model_fields.items() if not f.description]
    assert silent == []
