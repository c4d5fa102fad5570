"""The inputs of runs on their host: kept once, and never taken for what they are not."""

import getpass
import hashlib
from pathlib import Path

import pytest

from deploy.onhost import run_inputs
from tests.deploy.fake_hosts import FakeHosts, fakes

__all__ = ["fakes"]


def test_an_input_that_was_edited_on_the_host_is_asked_for_again(tmp_path: Path) -> None:
    store, incoming, run = tmp_path / "datasets", tmp_path / "incoming", tmp_path / "runs/ink"
    caption = b"a cat"
    sha256 = hashlib.sha256(caption).hexdigest()
    incoming.mkdir()
    (incoming / sha256).write_bytes(caption)
    assert run_inputs.missing(str(tmp_path / "runs/new"), str(store), [sha256]) == [sha256]
    run_inputs.create(str(run), str(store), str(incoming), {"data.folder/1.txt": sha256}, "", {}, getpass.getuser())
    assert run_inputs.missing(str(tmp_path / "runs/new"), str(store), [sha256]) == []
    with (run / "inputs/data.folder/1.txt").open("ab") as file:
        file.write(b", edited")
    assert run_inputs.missing(str(tmp_path / "runs/new"), str(store), [sha256]) == [sha256]


def test_the_same_name_works_over_a_run_that_was_never_started(
    fakes: FakeHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = tmp_path / "host"
    host.mkdir()
    monkeypatch.setenv("FAKE_HOST", str(host))  # where the stand-in for systemctl reads a unit's state
    (host / "show").write_text("ActiveState=inactive\nResult=success\nInvocationID=\n")
    run = tmp_path / "runs/ink"
    for config in ("steps = 1", "steps = 2"):
        run_inputs.create(str(run), str(tmp_path / "store"), str(tmp_path / "none"), {}, config, {}, getpass.getuser())
        assert (run / "config.toml").read_text() == config
    (run / "log.jsonl").write_text('{"event": "step", "step": 1}\n')
    with pytest.raises(ValueError, match="there is already a run with this name; choose another with --name"):
        run_inputs.create(str(run), str(tmp_path / "store"), str(tmp_path / "none"), {}, "", {}, getpass.getuser())
    assert (run / "config.toml").read_text() == "steps = 2"


@pytest.mark.parametrize("shared", [False, True])
def test_a_taken_name_is_refused_before_anything_is_sent(fakes: FakeHosts, shared: bool) -> None:
    fakes.write({"h1": "train", "h2": "train"})
    (fakes.host("h2") / "show").write_text("ActiveState=inactive\nResult=success\nInvocationID=\n")
    run = fakes.root("h2") / "runs/cat"
    run.mkdir(parents=True)
    (run / "config.toml").touch()
    (run / "log.jsonl").write_text('{"event": "step", "step": 1}\n')
    pictures = fakes.folder / "pictures/3_cat"
    pictures.mkdir(parents=True)
    (pictures / "a.png").write_bytes(b"a")
    (fakes.folder / "toy.safetensors").write_bytes(b"toy")
    config = fakes.folder / "cat.toml"
    config.write_text(
        'name = "cat"\n[model]\ncheckpoint = "toy.safetensors"\n[data]\nfolder = "pictures"\n'
        '[train]\nsteps = 5\ndevice = "cpu"\n' + ('[resources]\nhosts = ["h1", "h2"]\n' if shared else "")
    )
    on = [] if shared else ["--on", "h2"]
    done = fakes.sdfleet("train", "run", str(config), *on, "--name", "cat")
    assert (done.exit_code, done.output.splitlines()[-1]) == (
        1,
        "h2: cat: there is already a run with this name; choose another with --name; "
        "to follow that one: sdfleet train follow cat",
    )
    assert "Sending" not in done.output and not (fakes.root("h1") / "runs").exists()
