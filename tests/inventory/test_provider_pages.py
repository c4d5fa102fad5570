"""The fleet.toml that each provider's page shows is a valid one."""

import re
from pathlib import Path

import pytest

from inventory.load import load

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "port", "tls"),
    [
        ("autodl", 6006, "provider"),
        ("runpod", 6006, "provider"),
        ("vast", 8000, "self-signed"),
    ],
)
def test_the_pages_fleet_loads(tmp_path: Path, page: str, port: int, tls: str) -> None:
    [text] = re.findall(r"```toml\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
    (tmp_path / "fleet.toml").write_text(text)
    host = load(tmp_path / "fleet.toml").hosts["rented-1"]
    assert (host.gateway.webui_port, host.gateway.tls) == (port, tls)
    assert host.connection.user == "root" and host.connection.port > 1024
