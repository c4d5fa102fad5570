"""Every fragment of configuration that a page shows passes the loader, and every setting that it names exists."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from inventory.load import load
from tests.docs import generated
from tests.docs.pages import GUIDES, TRAINING, blocks, kinds, name_of, settings
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


@pytest.mark.parametrize("page", generated.PAGES, ids=name_of)
def test_pages_made_from_the_code_are_current(page: Path) -> None:
    assert page.read_text() == generated.PAGES[page](), "run: python -m tests.docs.generated"


def test_they_have_every_setting_and_every_command() -> None:
    settings, commands = generated.training_settings(), generated.commands()
    assert "| `learning_rate` | `0.0001` |" in settings and "|  |\n" not in settings + commands
    for name in ("sdfleet train sweep", "sdfleet lab exec", "sdfleet lock envs", "lora-train resize"):
        assert f"\n## {name}\n" in commands
