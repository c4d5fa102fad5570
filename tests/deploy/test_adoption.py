"""Models that lie on a host already: into its store by block, link or copy, and never fetched."""

import os
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError
from typer.testing import CliRunner

from deploy import adoption
from deploy.cli import app
from deploy.onhost import adopt
from inventory.load import load
from roles.mirrors.config import Mirrors
from roles.models.config import Model
from roles.models.state import Seen
from roles.models.tasks import refuse
from roles.models.wanted import wanted
from roles.paths import Paths
from tests.roles.models.conftest import digest, tensors

LORA = tensors({"lora_unet_x.lora_down.weight": {"dtype": "F16", "shape": [1, 1], "data_offsets": [0, 2]}}, b"ab")
"""A whole file whose tensors are a LoRA's."""


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A fleet of this machine alone, its data root below the test's folder."""
    file = tmp_path / "fleet.toml"
    file.write_text('[fleet]\nname = "s"\n[hosts.a]\naddress = "local"\ngroups = []\n')
    return file


@pytest.fixture
def store(fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its store."""
    paths = Paths(root=PurePosixPath(tmp_path / "root"))
    host = load(fleet).hosts["a"].model_copy(update={"paths": paths})
    monkeypatch.setattr(adoption, "one_host", lambda *_: host)
    return Path(paths.store)


def blob(store: Path, data: bytes) -> Path:
    return store / "sha256" / digest(data)[:2] / digest(data)


def test_a_folder_of_before_comes_into_the_store_and_its_entries_are_printed(
    fleet: Path, store: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old/models/Lora"
    (old / "deep").mkdir(parents=True)
    (old / "小猫 v1.safetensors").write_bytes(LORA)
    (old / "deep/twin.safetensors").write_bytes(LORA)
    (old / "notes.txt").write_text("no model")
    (old / "link.safetensors").symlink_to("/etc/passwd")
    os.mkfifo(old / "fifo.safetensors")
    (old / "broken.safetensors").write_bytes(b"no safetensors")
    done = CliRunner().invoke(app, ["models", "adopt", "a", str(tmp_path / "old"), "--fleet", str(fleet)])
    assert done.exit_code == 1, (done.output, done.exception)
    assert "broken.safetensors: not adopted: is not a safetensors file" in done.output
    assert blob(store, LORA).read_bytes() == LORA
    assert [path for path in (store / "sha256").rglob("*") if path.is_file()] == [blob(store, LORA)]
    assert list((store / "partial").iterdir()) == []
    assert sorted(path.name for path in old.iterdir()) == [
        "broken.safetensors",
        "deep",
        "fifo.safetensors",
        "link.safetensors",
        "notes.txt",
        "小猫 v1.safetensors",
    ]
    toml = tomllib.loads(done.output[done.output.index("[[models]]") :])
    [model] = toml["models"]
    assert (model["kind"], model["sha256"]) == ("lora", digest(LORA))
    fleet.write_text(fleet.read_text() + done.output[done.output.index("[[models]]") :])
    [found] = load(fleet).hosts["a"].models
    [file] = wanted([found], Paths(), Mirrors()).files
    assert (file.sources, file.push, file.sha256) == ((), None, digest(LORA))
    again = CliRunner().invoke(app, ["models", "adopt", "a", str(old / "deep"), "--fleet", str(fleet)])
    assert (again.exit_code, "is in the store already" in again.output) == (0, True)


def test_a_strangers_file_is_copied_only_if_told_so_and_never_linked(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    file = tmp_path / "old/m.safetensors"
    file.write_bytes(LORA)
    os.chown(file, 65534, 65534)

    def adopted(copy: bool) -> dict[str, Any]:
        [found] = adopt.main(str(tmp_path / "old"), str(tmp_path / "store"), [".safetensors"], [], copy)["files"]
        return dict(found)

    first = adopted(copy=False)
    if first.get("how") != "shared":  # a file system that shares blocks needs neither
        assert "other users than root may write to it" in first["why"]
        assert adopted(copy=True)["how"] == "copied"
    part = tmp_path / "store/partial" / digest(LORA)
    assert (part.read_bytes(), part.stat().st_uid, part.stat().st_ino != file.stat().st_ino) == (LORA, 0, True)
    assert file.stat().st_uid == 65534


def test_strange_files_are_refused_and_the_others_adopted(tmp_path: Path) -> None:
    old, store = tmp_path / "old", tmp_path / "store"
    old.mkdir()
    (old / "m.safetensors").write_bytes(LORA)
    (old / "deep.safetensors").write_bytes(tensors(b'{"a":' * 200_000))
    (old / "long.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with (old / "endless.safetensors").open("wb") as file:
        file.truncate(4 << 40)
    patterns = [[r"lora_unet_", "lora"]]
    answer = adopt.main(str(old), str(store), [".safetensors"], patterns, True)
    found = {file["path"]: file for file in answer["files"]}
    assert found["m.safetensors"]["kind"] == "lora"
    assert "never written" in found["endless.safetensors"]["why"]
    assert [found[f"{name}.safetensors"]["kind"] for name in ("deep", "long")] == ["", ""]


def test_what_cannot_be_adopted_says_why(fleet: Path, store: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["models", "adopt", "a", str(tmp_path / "none"), "--fleet", str(fleet)])
    assert "no folder" in f"{done.output}{done.exception}"
    (tmp_path / "real").mkdir()
    empty = CliRunner().invoke(app, ["models", "adopt", "a", str(tmp_path / "real"), "--fleet", str(fleet)])
    assert (empty.exit_code, "No model below" in empty.output) == (0, True)


def test_a_host_whose_store_lacks_it_is_told_what_to_do() -> None:
    with pytest.raises(ValueError, match="sha256: is required"):
        Model(name="m", kind="lora", source="adopted:m.safetensors")
    model = Model(name="m", kind="lora", source="adopted:m.safetensors", sha256="ab" * 32)
    goal = wanted([model], Paths(), Mirrors())
    with pytest.raises(DeployError, match="run `sdfleet models adopt HOST FOLDER`"):
        refuse(goal, Seen())
    refuse(goal, Seen(blobs={"ab" * 32: 5}))
