"""The verbs for bad days, killed on the host at every moment: nothing is lost, and the same verb finishes the job."""

import hashlib
import json
from pathlib import Path

import pytest

from deploy.onhost import published, runs, unused
from roles.programs import sent
from tests.deploy import killed
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_emergency import ENDED
from tests.deploy.test_rollback import serve

__all__ = ["fakes"]

pytestmark = pytest.mark.slow


@pytest.fixture
def host(fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data root of a host that is a folder; its systemctl is a script."""
    fakes.write({"h1": "webui train"})
    monkeypatch.setenv("FAKE_HOST", str(fakes.host("h1")))
    return fakes.root("h1")


def test_rollback(fakes: FakeHosts, host: Path) -> None:
    serve(fakes, "h1", "good", "new")
    app, unit = host / "apps/webui", fakes.host("h1") / "it.service"
    world = killed.World(fakes.host("h1"))
    program, words = sent("activate"), ("--app", str(app), "back")
    for at in killed.moments(program, *words):
        assert (app / "current").resolve().is_dir(), at
        done = killed.run(program, *words)
        assert done.returncode == 0, (at, done.stderr)
        # A second rollback finishes the first: it does not go on to the next release, or forward again.
        assert (app / "current").readlink().name == "r0", (at, done.stdout)
        assert unit.read_text() == "good"
        history = json.loads((app / "history.json").read_text())
        assert history["trying"] is None
        assert [(entry["release"], bool(entry["left"])) for entry in history["served"]] == [("r1", True), ("r0", False)]
        world.again()


def test_publish(host: Path) -> None:
    content = b"weights"
    sha256 = hashlib.sha256(content).hexdigest()
    store, link = host / "store", host / "data/webui/models/Lora/ink.safetensors"
    link.parent.mkdir(parents=True)
    store.mkdir()
    (store / ".incoming-ink").write_bytes(content)
    blob, note = store / "sha256" / sha256[:2] / sha256, store / "published.json"
    places = {"incoming": str(store / ".incoming-ink"), "blob": str(blob), "link": str(link), "manifest": str(note)}
    program = killed.call(published, run="ink", sha256=sha256, ports={"webui": 1}, **places)
    world = killed.World(host)
    for at in killed.moments(program):
        if link.is_symlink():
            assert link.read_bytes() == content and str(link) in json.loads(note.read_text()), at
        if not blob.exists():
            (store / ".incoming-ink").write_bytes(content)  # sent again where it is not in the store
        assert "changed" in killed.run(program).stdout, at
        assert link.read_bytes() == content and str(link) in json.loads(note.read_text())
        assert not [name for name in killed.snapshot(host) if "incoming" in name], at
        world.again()


def test_prune(host: Path) -> None:
    files = [host / "store/sha256" / (digit * 2) / (digit * 64) for digit in "123"]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("bytes")
    delete = [str(file) for file in files[1:]]
    program = killed.call(unused, store=str(host / "store"), places=[], needed=[files[0].name], delete=delete)
    world = killed.World(host)
    for at in killed.moments(program):
        assert files[0].exists(), at
        assert killed.run(program).returncode == 0
        assert [file.exists() for file in files] == [True, False, False], at
        world.again()


def make_run(host: Path, name: str) -> Path:
    """A run with one input, which lies in the store of datasets."""
    folder, blob = host / "runs" / name, host / f"datasets/sha256/{name[0] * 2}/{name[0] * 64}"
    (folder / "inputs").mkdir(parents=True)
    (folder / "config.toml").write_text("")
    (folder / "turn.json").write_text(json.dumps({"gpus": 1}))
    blob.parent.mkdir(parents=True)
    blob.write_text("picture")
    return folder


def test_remove(host: Path, fakes: FakeHosts) -> None:
    folder, other = make_run(host, "ink"), make_run(host, "pen")
    (fakes.host("h1") / "show").write_text(ENDED)
    blob = host / "datasets/sha256/ii" / ("i" * 64)
    blob.unlink()
    (folder / "inputs/a.png").write_text("picture")
    name = hashlib.sha256(b"picture").hexdigest()
    blob = host / "datasets/sha256" / name[:2] / name
    world = killed.World(host)

    def begin() -> None:
        blob.parent.mkdir(exist_ok=True)
        blob.hardlink_to(folder / "inputs/a.png")
        (folder / "inputs/same.png").unlink(missing_ok=True)
        (folder / "inputs/same.png").hardlink_to(blob)

    begin()
    program = killed.call(runs, verb="remove", run=str(folder), store=str(host / "datasets"))
    next_one = killed.call(runs, verb="remove", run=str(other), store=str(host / "datasets"))
    for at in killed.moments(program):
        again = json.loads(killed.run(program).stdout)
        assert again in ({}, {"error": "no such run on this host"}), (at, again)
        assert not folder.exists()
        assert json.loads(killed.run(next_one).stdout) == {}
        left = killed.snapshot(host)
        assert not [path for path in left if "ink" in path or name in path], (at, left)
        world.again()
        begin()


def test_resume(host: Path, fakes: FakeHosts) -> None:
    folder = make_run(host, "ink")
    (fakes.host("h1") / "show").write_text(ENDED)
    program = killed.call(runs, verb="turn", run=str(folder), wants={"nodes": {"rank": 0}})
    world = killed.World(host)
    for at in killed.moments(program):
        assert json.loads((folder / "turn.json").read_text())["gpus"] == 1, at
        assert json.loads(killed.run(program).stdout) == {}
        assert json.loads((folder / "turn.json").read_text()) == {"gpus": 1, "nodes": {"rank": 0}}
        world.again()
