"""An installation with the extra `train`: every verb of lora-train, from its help to a LoRA, away from the checkout."""

import subprocess
from pathlib import Path

import pytest
import tomlkit

from tests.install.environments import Environment, cpu_torch, make, with_extras
from tests.install.test_controller import HELP
from tests.training import tiny
from tests.training.checkpoints import checkpoint, save
from tests.training.workbench import Workbench

pytestmark = pytest.mark.slow

KOHYA = Path(__file__).parents[1] / "training/kohya_files/sections.toml"


@pytest.fixture(scope="module")
def trainer(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The controller and the trainer, torch for the CPU."""
    made = make(tmp_path_factory.mktemp("trainer") / "env")
    made.install([with_extras(wheel, ["train"]), *cpu_torch()])
    return made


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, pictures, and a config of two steps."""
    folder = tmp_path_factory.mktemp("desk")
    tiny.sd1(folder / "sd1.safetensors")
    tiny.tokenizer(folder / "tokenizer")
    for seed in range(2):
        tiny.picture(folder / f"pictures/1_cat/{seed}.png", seed=seed).with_suffix(".txt").write_text("a cat\n")
    tables = Workbench(folder, folder).raw(tables={"train": {"steps": 2, "batch_size": 1, "device": "cpu"}})
    (folder / "cat.toml").write_text(tomlkit.dumps(tables))
    return folder


def test_every_verb_answers_help_from_the_root_folder(trainer: Environment) -> None:
    done = trainer.run([trainer.bin / "python", HELP, "lora-train"], "/")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 10


def test_every_verb_does_its_work(trainer: Environment, desk: Path) -> None:
    def lora_train(*arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = trainer.run(["lora-train", *arguments], desk)
        assert done.returncode == code, f"lora-train {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done

    lora_train("check", "cat.toml")
    lora_train("dataset", "cat.toml", "--sheet", "sheet.html")
    assert "<html" in (desk / "sheet.html").read_text()
    lora_train("run", "cat.toml", "--run", "one")
    trained = "one/output/cat.safetensors"
    assert (desk / trained).is_file()
    assert "identical" in lora_train("reproduce", "one", "--run", "two").stdout
    assert "identical" in lora_train("compare", "one", "two").stdout
    assert "rank" in lora_train("inspect", trained).stdout
    lora_train("resize", trained, "-o", "small.safetensors", "--rank", "1")
    lora_train("merge", trained, "small.safetensors", "-o", "sum.safetensors")
    base = save(desk / "base.safetensors", checkpoint("sd1"))
    lora_train("extract", str(base), str(base), "-o", "nothing.safetensors", "--rank", "1", code=2)
    assert "rank = 24" in lora_train("convert", str(KOHYA), "--base", ".").stdout
    assert "onnxruntime" in lora_train("caption", "pictures/1_cat", "--with", "tagger", code=2).stderr
