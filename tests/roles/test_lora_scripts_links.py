"""Models and datasets that root shows to lora-scripts, in folders whose names the WebUI's user chooses."""

import os
import subprocess
from pathlib import Path

import pytest

from tests import onhost


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A store with one model, and the folders around it."""
    for name in ("models", "store/sha256/ab", "shown", "runs/ink/inputs/data.folder", "train"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "store/sha256/ab/abcd").write_text("a model")
    return tmp_path


def show(host: Path) -> "subprocess.CompletedProcess[bytes]":
    words = ["--models", host / "models", "--store", host / "store", "--sd-models", host / "shown"]
    words += ["--runs", host / "runs", "--train", host / "train"]
    # As systemd starts it, where the locale knows ASCII alone.
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = onhost.words("lora_scripts_links", *words)
    return subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)


STRANGE = {
    "long": f"{'n' * 243}.safetensors",
    "no text": "\udcff\udcfe.safetensors",
    "from right to left": "\u202e\u5149.safetensors",
    "two lines": "a\nb.ckpt",
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_name_does_not_stop_the_others(kind: str, host: Path) -> None:
    names = [STRANGE[kind], "z.safetensors"]
    for name in names:
        (host / "models" / name).symlink_to(host / "store/sha256/ab/abcd")
    done = show(host)
    assert done.returncode == 0, done.stderr
    assert sorted(place.name for place in (host / "shown").iterdir()) == sorted(names)
    assert (host / "train/ink").is_symlink()
    assert show(host).stdout == b"", "the second time nothing changes"


def test_a_link_out_of_the_store_is_not_shown(host: Path) -> None:
    (host / "secret").write_text("root's")
    (host / "models/a.safetensors").symlink_to(host / "secret")
    (host / "store/sha256/ab/out").symlink_to(host / "secret")
    (host / "models/b.safetensors").symlink_to(host / "store/sha256/ab/out")
    os.mkfifo(host / "models/c.safetensors")
    assert show(host).returncode == 0
    assert list((host / "shown").iterdir()) == []


def test_datasets_are_not_shown_through_a_link(host: Path) -> None:
    (host / "outside").mkdir()
    (host / "train").rmdir()
    (host / "train").symlink_to(host / "outside")
    assert show(host).returncode == 1
    assert list((host / "outside").iterdir()) == []
