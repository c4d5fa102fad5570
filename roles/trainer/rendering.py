"""The trainer's unit as text: what apply writes and verify compares with."""

from pathlib import PurePosixPath

from roles.accounts import TRAINER
from roles.managers import SYSTEMD, Manager
from roles.paths import UNITS, Paths
from roles.service import Path, Service
from roles.trainer.config import Trainer
from templates import render

UNIT = UNITS / "lora-train@.service"
TENSORBOARD = UNITS / "sdfleet-tensorboard.service"
SLICE = UNITS / "sdfleet-train.slice"
SHARED_OUT = ("MemoryMax", "DevicePolicy", "DeviceAllow")
"""Settings of the runs' unit that hold for all its processes together."""
COMPILED = "/var/cache/sdfleet-train"
"""What Python compiles of the environment, which runs may not write."""


def unit(trainer: Trainer, paths: Paths, manager: Manager) -> str:
    """The file that describes the template of training runs to a host's service manager."""
    return manager.text(run_service(trainer, paths))


def run_service(trainer: Trainer, paths: Paths) -> Service:
    """A training run as a service: the template of all of them."""
    run = paths.run("%i")
    turn: tuple[Path, ...] = ("/usr/bin/python3", "-I", paths.onhost, "training_turn")
    return Service(
        UNIT.name,
        "trainer",
        "LoRA training run %i",
        # One run a GPU: the others wait for its lock, which the kernel gives back however a run ends.
        (*turn, "take", run, turns(paths), program(paths.current("trainer"))),
        user=TRAINER,
        environment={
            "HF_HOME": paths.hub,
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HOME": run / "cache",
            "XDG_CACHE_HOME": run / "cache",
            "MPLCONFIGDIR": run / "cache",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPYCACHEPREFIX": COMPILED,
        },
        folder=run,
        # A finished run is not begun again at the next boot.
        condition=(*turn, "finished", run),
        after=(*turn, "after", run),
        needs=run / "config.toml",
        good_statuses=(143,),
        # Time to write a checkpoint.
        stop_seconds=600,
        cache_folder=PurePosixPath(COMPILED).name,
        writes=(run, turns(paths)),
        nice=trainer.nice,
        oom_score=500,
        memory_max=trainer.memory_max,
        hardening={
            "slice": SLICE.name,
            "peers": "".join(f" {peer}" for peer in trainer.peers),
            # With no GPU allowed none may be touched: the device nodes are hidden.
            "gpus": trainer.gpus,
        },
    )


def tensorboard(trainer: Trainer, paths: Paths, environment: PurePosixPath, manager: Manager) -> str:
    """The file that describes TensorBoard, which shows the runs that write its events."""
    words: list[Path] = [environment / "bin/python", "-P", "-m", "tensorboard.main", "--logdir", paths.runs]
    service = Service(
        TENSORBOARD.name,
        "trainer",
        "TensorBoard of the training runs",
        (*words, "--host", "127.0.0.1", "--port", str(trainer.tensorboard_port)),
        user=TRAINER,
        environment={"PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""},
        umask=0o077,
        # Started by `sdfleet open HOST tensorboard`; it does not stay for ever.
        longest_seconds=12 * 3600,
        nice=10,
        on_boot=False,
    )
    return manager.text(service)


def unit_texts(
    trainer: Trainer, paths: Paths, environment: PurePosixPath, manager: Manager
) -> dict[PurePosixPath, str]:
    """Text of each file: the runs' template, TensorBoard, and under systemd the slice of all runs together."""
    return {
        manager.file(UNIT.name): unit(trainer, paths, manager),
        manager.file(TENSORBOARD.name): tensorboard(trainer, paths, environment, manager),
        **({SLICE: train_slice(trainer)} if manager.slices else {}),
    }


def as_a_run(trainer: Trainer, paths: Paths) -> list[str]:
    """The words before a program of root's that is to have, under systemd, what a training run has of the host.

    The program inherits the caller's files, which a unit would not. Delegate: where the limit is reached, the kernel
    ends the process that takes most, and systemd not all others with it.
    """
    lines = unit(trainer, paths, SYSTEMD).splitlines()
    rules = ["Delegate=yes", *(line for line in lines if line.partition("=")[0] in SHARED_OUT)]
    words = ["systemd-run", "--scope", "--quiet", "--collect", f"--slice={SLICE.name}"]
    return [*words, *(f"--property={rule}" for rule in rules), "--"]


def train_slice(trainer: Trainer) -> str:
    """The slice of all runs together."""
    return render("trainer/sdfleet-train.slice.j2", memory_max=trainer.memory_max)


def turns(paths: Paths) -> PurePosixPath:
    """The folder of the runs' locks: one for the queue, one per GPU."""
    return paths.runs / ".turns"


def program(release: PurePosixPath) -> PurePosixPath:
    """The trainer's command in a release."""
    return release / "bin/lora-train"


def launcher(release: PurePosixPath, environment: PurePosixPath) -> str:
    """The text of that command, which runs the release's code in its environment."""
    return render("trainer/lora-train.j2", code=release / "lib", python=environment / "bin/python")
