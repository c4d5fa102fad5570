"""Reading fleet.toml: what a person types, and the sentence they get."""

from pathlib import Path

import pytest

from inventory.errors import ConfigError
from inventory.load import load

GOOD = """
[fleet]
name = "studio"
[hosts.gpu-1]
address = "203.0.113.10"
groups = ["webui", "train"]
"""

BAD = {
    "typo in a host's role table": (
        GOOD + "webui.prot = 1",
        "hosts.gpu-1.webui.prot: unknown setting (did you mean port?)",
    ),
    "typo in a host": (
        '[fleet]\nname = "a"\n[hosts.a]\nadress = "x"',
        "hosts.a.adress: unknown setting (did you mean address?)",
    ),
    "no address": ('[fleet]\nname = "a"\n[hosts.a]\nport = 22', "hosts.a.address: is required"),
    "no name": ('[fleet]\n[hosts.a]\naddress = "x"', "fleet.name: is required"),
    "no host": ('[fleet]\nname = "a"', "hosts: no host; add a table like [hosts.gpu-1] with an address"),
    "unknown table": (GOOD + "[webbui]", "webbui: unknown table (did you mean webui?)"),
    "unknown preset": (
        GOOD.replace('name = "studio"', 'name = "studio"\nmirrors = "china2"'),
        "fleet.mirrors: input should be 'none' or 'china' (is 'china2')",
    ),
    "unknown group": (GOOD.replace('"train"', '"trian"'), "hosts.gpu-1.groups: no group 'trian' (did you mean train?)"),
    "port out of range": (
        GOOD + "[webui]\nport = 80",
        "webui.port: input should be greater than or equal to 1024 (is 80)",
    ),
    "port not a number": (
        GOOD + 'port = "ssh"',
        "hosts.gpu-1.port: input should be a valid integer, unable to parse string as an integer (is 'ssh')",
    ),
    "flag that sdfleet decides": (
        GOOD + "[webui]\nflags = { listen = true }",
        "webui.flags: listen is decided by sdfleet and cannot be a flag",
    ),
    "model of unknown kind": (
        GOOD + '[[models]]\nname = "m"\nkind = "chekpoint"\nsource = "hf:a/b/c.safetensors"',
        "models.m.kind: input should be 'checkpoint', 'lora'",
    ),
    "model source without scheme": (
        GOOD + '[[models]]\nname = "m"\nkind = "lora"\nsource = "somewhere"',
        "models.m.source: 'somewhere' has no known scheme",
    ),
    "sha256 too short": (
        GOOD + '[[models]]\nname = "m"\nkind = "lora"\nsource = "https://x/y.safetensors"\nsha256 = "abc"',
        "models.m.sha256: string should match pattern",
    ),
    "mirror that is no URL": (
        GOOD + '[mirrors]\ngithub = ["ghfast.top"]',
        "mirrors.github.0: 'ghfast.top' is not an http(s) URL",
    ),
    "secret given by value": (
        GOOD + '[secrets]\ncivitai_token = "abc"',
        "secrets.civitai_token: give a table that says where it is",
    ),
    "secret with two references": (
        GOOD + '[secrets]\ncivitai_token = { env = "A", file = "b" }',
        "secrets.civitai_token: give exactly one of env, file, command",
    ),
    "unknown role in a group": (GOOD + '[groups.x]\nroles = ["webiu"]', "groups.x.roles: no role 'webiu'"),
    "not TOML": ("[fleet\n", "is not valid TOML"),
}


def _problems(tmp_path: Path, text: str) -> str:
    file = tmp_path / "fleet.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    return str(caught.value)


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gets_a_sentence_that_names_the_key(case: str, tmp_path: Path) -> None:
    text, expected = BAD[case]
    assert expected in _problems(tmp_path, text)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD + 'webui.prot = 1\n[webui]\nport = 80\n[[models]]\nname = "m"'
    keys = [line.split(": ")[1] for line in _problems(tmp_path, text).splitlines()]
    assert {"hosts.gpu-1.webui.prot", "webui.port", "models.m.kind", "models.m.source"} <= set(keys)


def test_host_wins_over_group_over_fleet(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(
        GOOD
        + "webui.port = 7863\n"
        + '[hosts.gpu-2]\naddress = "b"\ngroups = ["webui"]\n'
        + '[hosts.gpu-3]\naddress = "c"\ngroups = ["train"]\n'
        + "[webui]\nport = 7861\n[groups.webui]\nwebui.port = 7862\n"
    )
    fleet = load(file)
    assert {name: host.webui.port for name, host in fleet.hosts.items()} == {
        "gpu-1": 7863,
        "gpu-2": 7862,
        "gpu-3": 7861,
    }
    assert fleet.hosts["gpu-3"].roles == ("mirrors", "base", "gpu", "models", "trainer")


def test_preset_and_override(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    preset = GOOD.replace('name = "studio"', 'name = "studio"\nmirrors = "china"')
    file.write_text(preset + '[mirrors]\ngithub = ["https://proxy.example/"]')
    mirrors = load(file).hosts["gpu-1"].mirrors
    assert mirrors.github == ("https://proxy.example",)
    assert mirrors.huggingface[0] == "https://hf-mirror.com"


def test_the_example_is_valid(tmp_path: Path) -> None:
    from inventory import example

    file = tmp_path / "fleet.toml"
    example.write(file)
    assert load(file).hosts["gpu-1"].connection.address == "203.0.113.10"
    with pytest.raises(ConfigError, match="exists already"):
        example.write(file)
