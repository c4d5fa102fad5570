"""Every fragment of configuration that a page shows passes the loader, and every setting that it names exists."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from inventory.load import load
from tests.docs import training_settings
from tests.docs.pages import FLEET, GUIDES, TRAINING, blocks, kinds, name_of, settings
from training.config import parse_config

FRAGMENTS = [
    pytest.param(text, id=f"{name_of(page)}-{number}")
    for page in GUIDES
    for number, text in enumerate(blocks(page, "toml"))
]
MINIMAL_RUN = {"name": "x", "model": {"checkpoint": "x.safetensors"}, "data": {"folder": "x"}}


def _completed(given: dict[str, Any], least: dict[str, Any]) -> dict[str, Any]:
    """What is given, and of `least` what is missing."""
    whole = copy.deepcopy(least)
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(whole.get(key), dict)
        whole[key] = _completed(value, whole[key]) if both else value
    return whole


@pytest.mark.parametrize("text", FRAGMENTS)
def test_configuration_is_valid(text: str, tmp_path: Path) -> None:
    given = tomllib.loads(text)
    if set(given) <= set(TRAINING):
        parse_config(_completed(given, MINIMAL_RUN), tmp_path / "train.toml")
        return
    hosts = {name: {"address": f"203.0.113.{at}"} for at, name in enumerate(given.get("hosts", {"gpu-1": {}}), 1)}
    whole = _completed(given, {"fleet": {"name": "x"}, "hosts": hosts})
    # A fragment shows what it is about; what its settings need besides is said around it.
    waves = whole["fleet"].get("rollout", {}).get("groups", ())
    whole = _completed(whole, {"groups": {name: {} for name in waves}}) if waves else whole
    needed = {*waves, *({"gateway", "cache", "lora_scripts"} & set(whole))}
    for host in whole["hosts"].values():
        host["groups"] = sorted(needed.union(host.get("groups", ["webui", "train"])))
    if "gateway" in whole:
        whole = _completed(whole, {"secrets": {"gateway_logins": {"file": "logins"}}})
    (tmp_path / "logins").write_text("somebody:a-long-password\n")
    (tmp_path / "fleet.toml").write_text(tomlkit.dumps(whole))
    assert load(tmp_path / "fleet.toml").hosts


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_settings_exist(page: Path) -> None:
    assert [name for name in sorted(settings(page)) if not kinds(name)] == [], f"{name_of(page)} names no such setting"


def test_a_setting_that_does_not_exist_is_seen() -> None:
    assert kinds("webui.port") and kinds("webui.flags.medvram") and kinds("train.steps") and kinds("hosts.gpu-1.init")
    assert not kinds("webui.prot") and not kinds("fleet.rollout.canaries") and not kinds("train.stepz")


def test_the_page_of_a_trainings_settings_is_current() -> None:
    assert training_settings.PAGE.read_text() == training_settings.text(), "run: python -m tests.docs.training_settings"


def test_every_setting_of_a_training_has_a_sentence() -> None:
    assert "| `learning_rate` |" in training_settings.text() and "|  |\n" not in training_settings.text()
    assert set(FLEET) >= {"webui", "models", "rental"}
