"""The verbs for bad days, on hosts that are folders: a host away, a wrong name, a full disk, a busy store."""

import fcntl
import json
from pathlib import Path

import pytest

from deploy.rollout.rollout import Rollout
from roles.models.config import CLIP
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.roles.test_lora_keys import write as write_lora

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

PIN = {"path": "config.json", "url": "https://huggingface.co/x", "sha256": "a" * 64, "size": 5}
LOCKED = {"source": CLIP.source, "wanted": CLIP.files, "revision": "b" * 40, "files": [PIN]}
ENDED = "ActiveState=inactive\nResult=success\nInvocationID=\n"
STEP = json.dumps({"event": "step", "step": 3})


def blob(fakes: FakeHosts, host: str, sha256: str) -> Path:
    """A file of a host's store."""
    file = fakes.root(host) / "store/sha256" / sha256[:2] / sha256
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("bytes")
    return file


def link(fakes: FakeHosts, host: str, place: str, to: Path) -> None:
    name = fakes.root(host) / place
    name.parent.mkdir(parents=True, exist_ok=True)
    name.symlink_to(to)


def write_lock(fakes: FakeHosts) -> None:
    """A fleet.lock for hosts with a WebUI."""
    lock = {"version": 1, "models": {f"hub/{CLIP.name}": LOCKED}}
    fakes.file.with_suffix(".lock").write_text(json.dumps(lock))


def test_prune_keeps_what_any_name_on_the_host_needs(fakes: FakeHosts) -> None:
    fakes.write({"h1": "", "h2": ""})
    unused, converted, published = (blob(fakes, "h1", digit * 64) for digit in "123")
    link(fakes, "h1", "converted/old.safetensors", converted)
    link(fakes, "h1", "data/webui/models/Lora/sub/ink.safetensors", published)
    (fakes.host("h2") / "away").touch()
    done = fakes.sdfleet("models", "prune", "--yes")
    assert done.exit_code == 1, "h2 was not looked at"
    assert "h1: 1 file(s), 5 bytes" in done.output and "h2 (root@h2:22): cannot be reached" in done.output
    assert (unused.exists(), converted.exists(), published.exists()) == (False, True, True)
    again = fakes.sdfleet("models", "prune", "--yes", "--limit", "h1")
    assert again.exit_code == 0 and "h1: 0 file(s)" in again.output


def test_prune_waits_for_no_sync(fakes: FakeHosts) -> None:
    fakes.write({"h1": "", "h2": ""})
    mine, other = blob(fakes, "h1", "1" * 64), blob(fakes, "h2", "1" * 64)
    with (fakes.root("h1") / "store/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = fakes.sdfleet("models", "prune", "--yes")
    assert done.exit_code == 1 and "h1: models are being downloaded" in done.output
    assert mine.exists() and not other.exists()


def run_on(fakes: FakeHosts, host: str, name: str) -> Path:
    """A run that has finished."""
    folder = fakes.root(host) / "runs" / name
    (folder / "output").mkdir(parents=True)
    (folder / "config.toml").write_text("")
    (folder / "log.jsonl").write_text(f"{STEP}\n")
    (folder / f"output/{name}.safetensors").write_text("weights")
    record = {"format": 1, "file": f"{name}.safetensors", "ended": {"how": "finished"}}
    (folder / "run.json").write_text(json.dumps(record))
    (fakes.host(host) / "show").write_text(ENDED)
    return folder


@pytest.mark.parametrize("verb", ["publish", "resume", "stop", "remove", "fetch", "follow"])
def test_a_run_that_is_not_there_is_named_and_so_is_a_host_that_is_away(verb: str, fakes: FakeHosts) -> None:
    fakes.write({"h1": "train", "h2": "train"})
    run_on(fakes, "h1", "ink")
    (fakes.host("h2") / "away").touch()
    done = fakes.sdfleet("train", verb, "pen")
    assert done.exit_code == 1
    assert "skipped h2 (root@h2:22): cannot be reached" in done.output
    assert "no run 'pen' on h1; to list all runs: sdfleet train list" in done.output


def test_publish_goes_on_where_one_webui_host_is_away(fakes: FakeHosts, tmp_path: Path) -> None:
    fakes.write({"h1": "train webui", "h2": "webui"})
    run_on(fakes, "h1", "ink")
    (fakes.root("h1") / "store").mkdir()
    (fakes.host("h2") / "away").touch()
    done = fakes.sdfleet("train", "publish", "ink", "--into", str(tmp_path / "runs"))
    assert done.exit_code == 1
    assert "Publishing ink.safetensors of ink as ink" in done.output
    assert "h2 (root@h2:22): cannot be reached" in done.output


def test_a_lora_that_the_webui_will_ignore_is_named(fakes: FakeHosts, tmp_path: Path) -> None:
    fakes.write({"h1": "train webui"})
    write_lock(fakes)
    folder = run_on(fakes, "h1", "ink")
    (fakes.root("h1") / "store").mkdir()
    write_lora(folder / "output/ink.safetensors", "unet.down_blocks.0.attn1.to_q.lora_A.weight")
    done = fakes.sdfleet("train", "publish", "ink", "--into", str(tmp_path / "runs"))
    said = "the WebUI ignores it silently: its keys are named 'unet.down_blocks"
    assert f"warning ink.safetensors: {said}" in done.output
    write_lora(fakes.root("h1") / "data/webui/models/Lora/by-hand.safetensors", "unet.x.lora_A.weight")
    listed = fakes.sdfleet("models", "list")
    assert listed.exit_code == 0, listed.output
    assert "models/Lora/by-hand.safetensors: the WebUI ignores it silently" in listed.output


def test_what_is_over_is_not_stopped_or_resumed(fakes: FakeHosts) -> None:
    fakes.write({"h1": "train"})
    run_on(fakes, "h1", "ink")
    stopped, resumed = fakes.sdfleet("train", "stop", "ink"), fakes.sdfleet("train", "resume", "ink")
    assert (stopped.exit_code, resumed.exit_code) == (1, 1)
    assert "ink is not running: it is finished" in stopped.output
    assert "ink is finished; to download its files: sdfleet train fetch ink" in resumed.output


def test_a_wrong_host_is_refused_by_the_option_that_names_it(fakes: FakeHosts) -> None:
    fakes.write({"h1": "train"})
    for words, option in ((("fetch", "ink", "--on", "h9"), "--on"), (("list", "--limit", "h9"), "--limit")):
        done = fakes.sdfleet("train", *words)
        assert done.exit_code == 2 and f"{option}: no host or group 'h9'; known are h1, train" in done.output


def test_update_says_which_host_is_away_and_how_to_go_on_without_it(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "webui"})
    write_lock(fakes)
    (fakes.host("h2") / "away").touch()
    done = fakes.sdfleet("update", "--locked")
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "h2 (root@h2:22): cannot be reached: ssh: connect to host h2 port 22: No route to host; "
        "check address, port, firewall, and that the host is up",
        f"Nothing was changed. To continue without h2: sdfleet update --locked --limit h1 --fleet {fakes.file}",
    ]


def test_an_interrupted_update_names_the_command_that_continues_it(
    fakes: FakeHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Rollout) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Rollout, "run", interrupted)
    fakes.write({"h1": "webui", "h2": "webui"})
    write_lock(fakes)
    done = fakes.sdfleet("update", "--locked", "--limit", "h2", "--force")
    assert done.exit_code == 130
    again = f"sdfleet update --locked --limit h2 --force --fleet {fakes.file}"
    assert done.output.splitlines()[-1] == f"Interrupted. Continue with: {again}"
