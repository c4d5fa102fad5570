"""The trainer role: its code and unit as text, and on a real host from nothing to a run of the real recipe."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from lab import Lab
from lab.fleet import write
from lab.locks import lock, train_requirements
from roles.managers import SYSTEMD
from roles.operations.application import ReleaseError
from roles.operations.sandbox import TOLD, tried
from roles.paths import Paths
from roles.trainer.application import application
from roles.trainer.config import Trainer
from roles.trainer.release import trainer_release
from roles.trainer.rendering import UNIT, train_slice, unit
from training import archive

TREE = Path(__file__).resolve().parents[2]
CONFIG = """
name = "ink"
[model]
checkpoint = "{base}"
tokenizer = "{tokenizer}"
[data]
folder = "pictures"
resolution = 64
buckets.enabled = false
[train]
steps = 4
"""


def test_every_environment_for_cards_brings_the_8_bit_optimisers() -> None:
    locks = list((TREE / "roles/trainer/locks").glob("*-cu*.txt"))
    assert locks
    for file in locks:
        assert "\nbitsandbytes==" in file.read_text(), file


def test_code_is_the_same_wherever_the_tree_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = archive.archive()
    shutil.copytree(TREE / "training", tmp_path / "elsewhere/training")
    (tmp_path / "elsewhere/training/__pycache__").mkdir(exist_ok=True)
    (tmp_path / "elsewhere/training/__pycache__/cli.cpython-311.pyc").write_bytes(b"compiled")
    monkeypatch.setattr(archive, "CODE", tmp_path / "elsewhere/training")
    assert archive.archive.__wrapped__() == here


def test_release_changes_with_code_and_lock(tmp_path: Path) -> None:
    shipped = trainer_release(Trainer(), "cpu")
    (tmp_path / "lock").write_text("other==1\n")
    assert trainer_release(Trainer(requirements=tmp_path / "lock"), "cpu").key != shipped.key
    assert trainer_release(Trainer(nice=0), "cpu").key == shipped.key


def test_missing_lock_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"no lock for Python 3\.12 and torch's cpu build .*there are py3\.11-"):
        trainer_release(Trainer(python="3.12"), "cpu")
    with pytest.raises(ReleaseError, match=r"trainer\.requirements: .*gone does not exist"):
        trainer_release(Trainer(requirements=tmp_path / "gone"), "cpu")


def test_unit_gives_a_run_what_it_may_touch_and_no_more() -> None:
    paths = Paths.model_validate({"root": "/data"})
    text = unit(Trainer(gpus=2, nice=7, memory_max="8G", peers=("10.0.0.0/24",)), paths, SYSTEMD)
    assert "ReadWritePaths=/data/runs/%i /data/runs/.turns\n" in text
    assert "PrivateDevices=no\n" in text and "Nice=7\n" in text and "MemoryMax=8G\n" in text
    assert "IPAddressAllow=localhost 10.0.0.0/24\n" in text and "Slice=sdfleet-train.slice\n" in text
    alone = unit(Trainer(gpus=0), Paths(), SYSTEMD)
    assert "PrivateDevices=yes\n" in alone and "IPAddressAllow=localhost\n" in alone
    assert "MemoryMax=90%\n" in train_slice(Trainer())


def finishing(trainer: Trainer) -> list[str]:
    """The commands that complete a release of the trainer on a host without a GPU."""
    return list(application(trainer_release(trainer, "cpu"), Paths(), keep=2, manager=SYSTEMD).finish)


def properties(command: str) -> set[str]:
    """What systemd is told of the unit of a command."""
    words = shlex.split(command)
    assert "systemd-run" in words
    return {word.removeprefix("--property=") for word in words if word.startswith("--property=")}


def test_what_packages_add_to_each_start_of_python_never_runs_as_root() -> None:
    starts = [command for command in finishing(Trainer()) if "bin/python" in command]
    assert len(starts) == 1 and tried("sdtrain", SYSTEMD, {}) in starts[0]
    confined = {"PrivateNetwork=yes", "ProtectSystem=strict", "ProtectHome=yes", "NoNewPrivileges=yes"}
    assert confined | {"PrivateTmp=yes", "InaccessiblePaths=-/etc/sdfleet"} <= properties(starts[0])
    assert any(rule.startswith("RuntimeMaxSec=") for rule in properties(starts[0])), "it may not hold an apply for ever"


@pytest.mark.lab
def test_trainer_on_a_host(lab: Lab, tmp_path: Path) -> None:
    """Installed, unchanged the second time, found and mended after a change by hand, and it really trains."""
    requirements = lock(lab, train_requirements())
    write(lab, ["train"], {"trainer": {"requirements": str(requirements), "gpus": 0}}, tmp_path / "fleet.toml")
    roles = ("--limit", "h1", "--role", "mirrors", "--role", "base", "--role", "trainer")

    def sdfleet(*arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import sdfleet; sdfleet.main()", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(TREE), "COLUMNS": "200", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stdout

    sdfleet("apply", *roles)
    assert " 0 " in sdfleet("apply", *roles).splitlines()[-2]
    trainer = ("--limit", "h1", "--role", "trainer")
    assert "as described" in sdfleet("verify", *trainer)
    lab.ssh("h1", f"sed -i s/Nice=5/Nice=0/ {UNIT}; systemctl daemon-reload")
    assert f"{UNIT} was changed by hand, or differs from fleet.toml" in sdfleet("verify", *trainer, status=3)
    sdfleet("apply", *trainer)
    assert "as described" in sdfleet("verify", *trainer)
    _trial_is_confined(lab, Trainer(requirements=requirements, gpus=0))
    from tests.training import tiny  # diffusers takes longer to import than all offline tests of a worker together

    base, tokenizer = tiny.sd1(tmp_path / "base.safetensors"), tiny.tokenizer(tmp_path / "tokenizer")
    for number in range(2):
        tiny.picture(tmp_path / f"pictures/2_cat/{number}.png", seed=number).with_suffix(".txt").write_text("a cat")
    (tmp_path / "ink.toml").write_text(CONFIG.format(base=base, tokenizer=tokenizer))
    said = sdfleet("train", "run", "ink.toml", "--on", "h1", "--name", "real")
    assert "real finished: step 4/4" in said
    trained = load_file(tmp_path / "runs/real/output/ink.safetensors")
    assert any(name.startswith("lora_unet_") and weight.any() for name, weight in trained.items() if "lora_up" in name)
    assert (tmp_path / "runs/real/run.json").exists()
    assert "h1" in sdfleet("train", "list", "--limit", "h1")


HOSTILE = """
import os, pathlib, pwd, socket
def tried(what):
    try: what()
    except OSError: return 'refused'
    return 'done'
print(
    pwd.getpwuid(os.getuid()).pw_name,
    *sorted(name for _, name in socket.if_nameindex()),
    tried(lambda: socket.create_connection(('127.0.0.1', 22), 2)),
    tried(lambda: pathlib.Path('/srv/sdfleet/runs/.turns/x').write_text('')),
    tried(lambda: pathlib.Path(__file__).with_name('more.py').write_text('')),
    tried(lambda: os.listdir('/etc/sdfleet')),
    tried(lambda: os.listdir('/root')),
)
"""
"""In the place of the trainer's own code: what does it find when root lets it start?"""


def _trial_is_confined(lab: Lab, trainer: Trainer) -> None:
    """The very command of an apply, with code that looks about."""
    [start] = [command for command in finishing(trainer) if "bin/python" in command]
    code = "/srv/sdfleet/apps/trainer/releases/.trial.building/lib/training"
    lab.ssh("h1", f"mkdir -p {code}; touch {code}/__init__.py; cat >{code}/cli.py <<'END'\n{HOSTILE}\nEND")
    done = lab.ssh("h1", f"cd {code}/../.. && {start}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == ["sdtrain", "lo", "refused", "refused", "refused", "refused", "refused"]
    lab.ssh("h1", f"echo 'while True: print(1)' >{code}/cli.py")
    endless = lab.ssh("h1", f"cd {code}/../.. && {start}")
    assert endless.returncode != 0 and len(endless.stderr) <= TOLD, "what it prints would fill the controller's memory"
    lab.ssh("h1", f"rm -rf {code}/../..")
