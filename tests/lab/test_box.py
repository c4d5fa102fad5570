"""The fleet in a box names what its upstreams really serve."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory.load import load
from lab import Lab, box
from roles.models.config import LockedModel

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def full() -> Iterator[Lab]:
    """One host with all upstreams."""
    with box.attached(hosts=1) as running:
        box.write_fleet(running)
        yield running


def test_a_host_can_clone_what_the_fleet_names(full: Lab) -> None:
    settings = load(full.fleet).hosts["h1"]
    mirror = settings.mirrors.github[0]
    assert settings.webui.commit, "fleet.lock knows the commit of the WebUI's tag"
    wanted = {settings.webui.repository: settings.webui.commit}
    wanted |= {repository.url: repository.commit for repository in settings.webui.repositories.values()}
    for url, commit in wanted.items():
        done = full.ssh("h1", f"git ls-remote {mirror}/{url}")
        assert commit in done.stdout, done.stderr


def test_the_lock_pins_every_file_of_every_model(full: Lab) -> None:
    models = load(full.fleet).hosts["h1"].models
    assert {model.kind for model in models} == {"checkpoint", "hub"}
    assert all(isinstance(model, LockedModel) and model.pins for model in models)


def test_requests_are_seen_from_the_machine(full: Lab) -> None:
    control = box.control(full)
    control.forget_requests()
    full.ssh("h1", "curl -s http://10.77.0.1:8081/no/such/resolve/main/thing")
    assert [entry["target"] for entry in control.requests() if entry["server"] == "huggingface"] == [
        "/no/such/resolve/main/thing"
    ]


def test_the_fleet_file_may_stand_anywhere(full: Lab, tmp_path: Path) -> None:
    described = load(box.write_fleet(full, tmp_path / "fleet.toml"))
    webui, trainer = described.hosts["h1"].webui, described.hosts["h1"].trainer
    assert webui.requirements and "torch==2.13.0+cpu" in webui.requirements.read_text()
    assert trainer.requirements and trainer.requirements.parent == tmp_path
