"""Hosts that start from what others were provisioned to be."""

import subprocess
from pathlib import Path

import pytest
import tomlkit

from lab import Lab, fleet, layers
from lab.layers import Scene
from lab.state import Rented

pytestmark = pytest.mark.lab


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of layers of the test's own, beside the real one's root file system."""
    folder = tmp_path / "layers"
    monkeypatch.setattr(layers, "folder_of_layers", lambda: folder)
    return folder


class Provisioning:
    """A scene of two hosts that writes, replaces and deletes files, and counts how often it had to."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, lab: Lab, folder: Path) -> None:
        self.times += 1
        fleet.write(lab, file=folder / "fleet.toml")
        lab.folder.upstreams.joinpath("mark").write_text("served")
        for host in lab.hosts:
            done = lab.ssh(host.name, f"echo {host.name} >/etc/made; rm /etc/issue; rm -r /etc/skel; mkdir /etc/skel")
            assert done.returncode == 0, done.stderr

    @property
    def scene(self) -> Scene:
        return Scene("test", 2, self, (Path(__file__),))


def test_a_second_lab_starts_where_the_first_was_provisioned(cache: Path, tmp_path: Path) -> None:
    provisioning = Provisioning()
    for number in (1, 2):
        folder = tmp_path / str(number)
        with layers.attached(provisioning.scene, folder, hosts=3) as lab:
            made = [lab.ssh(host.name, "cat /etc/made; hostname; ls -A /etc/skel").stdout.split() for host in lab.hosts]
            # A third host is a copy of the first; names, keys and machine ids are each host's own.
            assert made == [["h1", "h1"], ["h2", "h2"], ["h1", "h3"]]
            ids = {lab.ssh(host.name, "cat /etc/machine-id").stdout for host in lab.hosts}
            assert len(ids) == 3 and "" not in ids
            assert lab.ssh("h1", "test -e /etc/issue").returncode == 1, "a deleted file stays deleted"
            assert (lab.folder.upstreams / "mark").read_text() == "served"
            hosts = tomlkit.parse((folder / "fleet.toml").read_text())["hosts"]
            assert isinstance(hosts, dict)
            assert {name: table["port"] for name, table in hosts.items()} == {h.name: h.port for h in lab.hosts}
            assert lab.ssh("h1", "touch /etc/mine; test $(ls /etc/mine | wc -l) = 1").returncode == 0
            assert not list(cache.glob("*/hosts/*/etc/mine")), "a lab has written into a layer"
    assert provisioning.times == 1
    [layer] = [path for path in cache.iterdir() if path.is_dir()]
    assert {path.name for path in layer.iterdir()} == {"folder", "hosts", "upstreams"}


def test_containers_are_kept_with_their_data_disks(cache: Path, tmp_path: Path) -> None:
    def prepare(lab: Lab, folder: Path) -> None:
        fleet.write(lab, file=folder / "fleet.toml")
        assert lab.ssh("c1", "rm /etc/issue; echo root >/etc/made; echo data >/workspace/made").returncode == 0

    scene = Scene("rented", 1, prepare, (Path(__file__),), (Rented(provider="runpod"),))
    for number in (1, 2):
        folder = tmp_path / str(number)
        with layers.attached(scene, folder) as lab:
            made = "cat /etc/made /workspace/made; ls /etc/issue /workspace/mine"
            assert lab.ssh("c1", made).stdout.split() == ["root", "data"]
            hosts = tomlkit.parse((folder / "fleet.toml").read_text())["hosts"]
            assert isinstance(hosts, dict) and f"-p {lab.host('c1').port} " in hosts["c1"]["address"]
            assert hosts["c1"]["password"]["file"] == str(lab.folder.password("c1"))
            lab.ssh("c1", "echo mine >/workspace/mine; rm /workspace/made")
            lab.stop("c1")
            lab.start("c1")
            # RunPod wipes what was written since the image, which the layer is part of.
            assert lab.ssh("c1", "cat /etc/made; ls /workspace").stdout.split() == ["root", "mine"]


def test_what_failed_is_not_kept_and_other_code_is_another_layer(cache: Path, tmp_path: Path) -> None:
    def fails(lab: Lab, folder: Path) -> None:
        raise ValueError("the apply failed")

    for _ in range(2):
        with pytest.raises(ValueError, match="the apply failed"), layers.attached(Scene("x", 1, fails, ()), tmp_path):
            raise AssertionError
    assert [path for path in cache.iterdir() if path.is_dir()] == []
    tree = Path("rootfs-1")
    keys = {layers.key(Scene(name, hosts, fails, ()), tree) for name in "xy" for hosts in (1, 2)}
    more = layers.key(Scene("x", 1, fails, (Path(__file__),)), tree)
    assert len(keys | {more}) == 5 and layers.key(Scene("x", 1, fails, ()), Path("rootfs-2")) not in keys


def test_the_oldest_layers_go_and_none_that_is_in_use(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "KEPT_BYTES", 1)

    def nothing(lab: Lab, folder: Path) -> None:
        pass

    cache.mkdir()
    (cache / "killed-1.part").mkdir()
    one, two = (layers.attached(Scene(name, 1, nothing, ()), tmp_path / name) for name in ("one", "two"))
    with one, two:
        assert {path.name.partition("-")[0] for path in cache.iterdir() if path.is_dir()} == {"one", "two"}
    with layers.attached(Scene("three", 1, nothing, ()), tmp_path / "three"):
        assert {path.name.partition("-")[0] for path in cache.iterdir() if path.is_dir()} == {"three"}
    assert subprocess.run(["grep", "-c", str(cache), "/proc/self/mounts"], capture_output=True).stdout == b"0\n"
