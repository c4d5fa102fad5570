"""The trainer's unit as text: what apply writes and verify compares with."""

from pathlib import PurePosixPath

from roles.accounts import TRAINER
from roles.paths import UNITS, Paths
from roles.trainer.config import Trainer
from templates import render

UNIT = UNITS / "lora-train@.service"
TENSORBOARD = UNITS / "sdfleet-tensorboard.service"
SLICE = UNITS / "sdfleet-train.slice"


def unit(trainer: Trainer, paths: Paths) -> str:
    """The template unit of training runs."""
    return render(
        "trainer/lora-train@.service.j2",
        user=TRAINER,
        runs=paths.runs,
        hub=paths.hub,
        slice=SLICE.name,
        onhost=paths.onhost,
        turns=turns(paths),
        program=program(paths.current("trainer")),
        nice=trainer.nice,
        memory_max=trainer.memory_max,
        peers="".join(f" {peer}" for peer in trainer.peers),
        # With no GPU allowed none may be touched: the device nodes are hidden.
        gpus=trainer.gpus,
    )


def tensorboard(trainer: Trainer, paths: Paths, environment: PurePosixPath) -> str:
    """The unit of TensorBoard, which shows the runs that write its events."""
    return render(
        "trainer/sdfleet-tensorboard.service.j2",
        user=TRAINER,
        runs=paths.runs,
        python=environment / "bin/python",
        port=trainer.tensorboard_port,
    )


def train_slice(trainer: Trainer) -> str:
    """The slice of all runs together."""
    return render("trainer/sdfleet-train.slice.j2", memory_max=trainer.memory_max)


def turns(paths: Paths) -> PurePosixPath:
    """The folder of the locks that runs hold: one of the queue, one of each GPU."""
    return paths.runs / ".turns"


def program(release: PurePosixPath) -> PurePosixPath:
    """The trainer's command in a release."""
    return release / "bin/lora-train"


def launcher(release: PurePosixPath, environment: PurePosixPath) -> str:
    """The text of that command: this release's code in its environment, wherever it is called from."""
    return render("trainer/lora-train.j2", code=release / "lib", python=environment / "bin/python")
