"""`sdfleet config`: every merged setting, where it comes from, and no secret."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from inventory import origins
from inventory.load import load
from inventory.model import Fleet
from inventory.origins import Setting

SECRET = "hunter2hunter2"
TEXT = f"""
[fleet]
name = "studio"
mirrors = "china"
user = "ubuntu"
http_proxy = {{ env = "PROXY" }}
[mirrors]
pypi = ["https://me:{SECRET}@pypi.example/simple?api_key={SECRET}&page=1"]
[webui]
flags = {{ medvram = false, xformers = false }}
options = {{ some_api_key = "{SECRET}", other = 1 }}
extra_arguments = ["--agent-token", "{SECRET}", "--agent-secret={SECRET}", "--agent-port", "7"]
[groups.big]
webui.flags = {{ medvram = true }}
sudo_password = {{ command = ["pass", "{SECRET}"] }}
[hosts.gpu-1]
address = "ssh -p 2222 root@203.0.113.10"
groups = ["webui", "big"]
password = {{ command = ["pass", "{SECRET}"] }}
webui.port = 7861
[hosts.gpu-2]
address = "203.0.113.11"
groups = ["cache", "train"]
[[models]]
name = "墨 ink.v2"
kind = "lora"
source = "https://civitai.com/x?token={SECRET}"
groups = ["big"]
[secrets]
civitai_token = {{ command = ["pass", "{SECRET}"] }}
huggingface_token = {{ env = "HF" }}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "fleet.toml").write_text(TEXT)
    return tmp_path / "fleet.toml"


@pytest.fixture
def fleet(file: Path) -> Fleet:
    return load(file)


def by_key(settings: Any) -> dict[str, Setting]:
    return {f"{each.table}.{each.name}": each for each in settings}


@pytest.mark.parametrize(
    ("setting", "value", "source"),
    [
        ("webui.port", 7861, "hosts.gpu-1.webui.port"),
        ("webui.flags.medvram", True, "groups.big.webui.flags.medvram"),
        ("webui.flags.xformers", False, "webui.flags.xformers"),
        ("webui.ref", "v1.10.1", "default"),
        ("mirrors.provider_proxy", "auto", "default"),
        (
            "mirrors.huggingface",
            ["http://203.0.113.11:8180", "https://hf-mirror.com", "https://huggingface.co"],
            "preset china, with the fleet's cache first",
        ),
        ("mirrors.hosts.gpu-2", "http://203.0.113.11:8188", "the group cache"),
        ("hosts.gpu-1.address", "203.0.113.10", "hosts.gpu-1.address"),
        ("hosts.gpu-1.port", 2222, "hosts.gpu-1.address"),
        ("hosts.gpu-1.user", "root", "hosts.gpu-1.address"),
        ("hosts.gpu-1.data_root", "/srv/sdfleet", "default"),
        ("hosts.gpu-1.http_proxy", {"env": "PROXY"}, "fleet.http_proxy"),
        ("hosts.gpu-1.no_proxy", ["203.0.113.10", "203.0.113.11"], "the fleet's hosts"),
        ("hosts.gpu-1.sudo_password", {"command": ["pass", "***"]}, "groups.big.sudo_password"),
        ("hosts.gpu-1.jump", None, "default"),
        ("models.墨 ink.v2.kind", "lora", "models.墨 ink.v2"),
        ("models.clip-vit-large-patch14.kind", "hub", "default"),
    ],
)
def test_a_setting_of_a_host_names_what_decides_it(setting: str, value: Any, source: str, fleet: Fleet) -> None:
    found = by_key(origins.of_host(fleet, "gpu-1"))[setting]
    assert (found.value, found.source) == (value, source)


def test_roles_that_a_host_has_not_are_left_out(fleet: Fleet) -> None:
    assert not [each for each in origins.of_host(fleet, "gpu-1") if each.table in ("trainer", "gateway", "cache")]


@pytest.mark.parametrize("role", ["webui", "comfyui", "lora_scripts"])
def test_the_commit_comes_from_the_lock(role: str, file: Path) -> None:
    file.write_text(TEXT.replace('groups = ["webui", "big"]', f'groups = ["{role}", "big"]'))
    fleet = load(file)
    host, key = fleet.hosts["gpu-1"], f"{role}.commit"
    found = by_key(origins.of_host(fleet, "gpu-1"))[key]
    assert (found.value, found.source) == (None, "default")
    pinned = host.model_copy(update={role: getattr(host, role).model_copy(update={"commit": "a" * 40})})
    found = by_key(origins.of_host(fleet.model_copy(update={"hosts": {"gpu-1": pinned}}), "gpu-1"))[key]
    assert (found.value, found.source) == ("a" * 40, "fleet.lock")


def test_the_fleets_settings_are_its_own(fleet: Fleet) -> None:
    found = by_key(origins.of_fleet(fleet))
    assert (found["webui.port"].value, found["webui.port"].source) == (7860, "default")
    assert found["mirrors.huggingface"].source == "preset china"
    assert found["hosts.gpu-1.webui.port"].value == 7861
    assert found["groups.big.webui.flags.medvram"].value is True
    assert found["secrets.huggingface_token"].value == {"env": "HF"}
    assert found["fleet.rollout.canary"].source == "default"


@pytest.mark.parametrize("words", [(), ("gpu-1",), ("gpu-2",)])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_secret_is_shown(words: tuple[str, ...], form: tuple[str, ...], file: Path) -> None:
    done = CliRunner().invoke(app, ["config", *words, *form, "--fleet", str(file)], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert SECRET not in done.output
    if form:
        told = json.loads(done.stdout)
        assert told["command"] == "config" and told["hosts"].keys() == ({*words} or {"gpu-1", "gpu-2"})
        assert bool(told["settings"]) == (not words)
    else:
        assert "\x1b" not in done.output
        assert {"mirrors", "gpu", "hosts", "models"} <= tomllib.loads(done.output).keys()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://{SECRET}@github.com/o/n", "https://***@github.com/o/n"),
        (f"https://me:p@{SECRET}@github.com/o/n", "https://***@github.com/o/n"),
        (f"socks5://me:p@{SECRET}@h", "socks5://***@h"),
        ("ssh://git@github.com/o/n", "ssh://git@github.com/o/n"),
        ("https://h/a@b?to=c@d", "https://h/a@b?to=c@d"),
        ("https://proxy.example/https://github.com", "https://proxy.example/https://github.com"),
        (f"https://h/a?X-Amz-Signature={SECRET}&n=1", "https://h/a?X-Amz-Signature=***&n=1"),
        (f"https://h/a?design=1&sig={SECRET}", "https://h/a?design=1&sig=***"),
    ],
)
def test_what_opens_a_url_is_not_shown(url: str, shown: str) -> None:
    assert origins._plain(url) == shown


def test_a_host_that_is_not_there_is_wrong_usage(file: Path) -> None:
    done = CliRunner().invoke(app, ["config", "gpu-9", "--fleet", str(file)])
    assert "no host 'gpu-9'; known are gpu-1, gpu-2" in str(done.exception)
