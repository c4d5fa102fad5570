"""`sdfleet models` without real hosts: what its lines say."""

from pathlib import Path

import pytest

from deploy import conversion
from deploy.connection.several import connect
from deploy.connection.ssh import HostError, Remote
from deploy.models import AUTOV2, rows
from deploy.stores import HostModels
from inventory.load import load
from roles.models.state import StoreContents
from roles.models.wanted import wanted
from roles.settings import SettingError
from tests.deploy.fake_hosts import FakeHosts, fakes

__all__ = ["fakes"]

ONE, TWO = "1" * 64, "2" * 64
FLEET = f"""
[fleet]
name = "studio"

[[models]]
name = "ink"
kind = "lora"
source = "https://files.example/ink.safetensors"
sha256 = "{ONE}"

[[models]]
name = "ink"
kind = "vae"
source = "https://files.example/other.safetensors"
sha256 = "{TWO}"

[hosts.gpu-1]
address = "192.0.2.1"
groups = []

[hosts.gpu-2]
address = "192.0.2.2"
groups = []
"""


def looked(tmp_path: Path, seen: dict[str, StoreContents]) -> list[HostModels]:
    """Hosts with these files in their stores."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    hosts = load(tmp_path / "fleet.toml").hosts
    return [
        HostModels(Remote(hosts[name], tmp_path), wanted(hosts[name].models, hosts[name].paths, hosts[name].mirrors), s)
        for name, s in seen.items()
    ]


def test_two_kinds_may_have_a_model_of_one_name(tmp_path: Path) -> None:
    found = looked(tmp_path, {"gpu-1": StoreContents({ONE: 5}), "gpu-2": StoreContents({ONE: 5, TWO: 6})})
    models = found[0].remote.host.models
    lora, vae = rows(models, found, AUTOV2)
    assert (lora[:2], lora[3], lora[5]) == (("ink", "lora"), ONE[:10], "gpu-1 gpu-2")
    assert (vae[:2], vae[3], vae[5]) == (("ink", "vae"), TWO[:10], "gpu-2")
    assert [row[3] for row in rows(models, found, 64)] == [ONE, TWO]


def test_a_model_of_hosts_that_were_not_read_is_listed_all_the_same(tmp_path: Path) -> None:
    [model, _] = looked(tmp_path, {"gpu-1": StoreContents()})[0].remote.host.models
    assert list(rows([model], [], AUTOV2)) == [
        ("ink", "lora", "an unknown amount", "unknown files", model.source, "none")
    ]


def test_a_conversion_names_a_setting_that_its_host_cannot_follow(
    fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.write({"h1": "webui"})

    def refused(*_: object) -> None:
        raise SettingError("webui.device", "is cuda, but there is no GPU")

    monkeypatch.setattr(conversion, "torch_builds", refused)
    said = pytest.raises(HostError, match=r"^h1: webui.device: is cuda, but there is no GPU$")
    with connect(load(fakes.file).hosts.values()) as remotes, said:
        conversion._python(remotes["h1"])
