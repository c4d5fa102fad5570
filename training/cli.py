"""The command line `lora-train`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from training.captioning.command import caption
from training.config import Config
from training.errors import TrainingError
from training.kohya import load_any
from training.lora import file_commands
from training.options import CommandLine, at_least, given_path
from training.review.command import dataset
from training.run import run_commands
from training.signals import Stop
from training.terminal import say

app = CommandLine(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

ConfigFile = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        help="Training config: sdfleet's own TOML, or a file of kohya's scripts or lora-scripts.",
        show_default=False,
    ),
]


@app.callback()
def about() -> None:
    """Train LoRAs for Stable Diffusion: the same config gives the same file, interrupted or not."""


@app.command("run")
def run_command(
    config: ConfigFile,
    run: Annotated[Path, typer.Option("--run", callback=given_path, help="Folder of the run; created if missing.")],
    nodes: Annotated[
        int, typer.Option(parser=at_least(1), metavar="N", help="Number of hosts that share the run.")
    ] = 1,
    node_rank: Annotated[int, typer.Option(parser=at_least(0), metavar="N", help="Number of this host, from 0.")] = 0,
    meet: Annotated[str, typer.Option(help="HOST:PORT of the first host, which the others connect to.")] = "",
) -> None:
    """Train a LoRA. An interrupted run resumes from its last checkpoint."""
    with _friendly():
        stop = Stop()
        stop.listen()
        loaded = _load(config)
        gpus = loaded.resources.gpus
        if "LOCAL_RANK" in os.environ or nodes * gpus == 1:
            from training.run.runner import train_in

            place = dict(os.environ) if "LOCAL_RANK" in os.environ else None
            if sentence := train_in(loaded, run, stop, place):
                say(sentence)
        else:
            from training.run import launch

            sys.exit(launch.launch_processes(config, run, gpus, launch.Nodes(nodes, node_rank, meet), stop))


@app.command()
def check(config: ConfigFile) -> None:
    """Check a config and its pictures without training."""
    with _friendly():
        from training.run.check import check_report

        say(check_report(_load(config)))


app.command()(dataset)
app.command()(caption)
file_commands.register(app)
run_commands.register(app)


def _load(file: Path) -> Config:
    """The config of a run; the report on a kohya file goes to standard error."""
    config, report = load_any(file)
    if report:
        say(str(report), err=True)
    return config


@contextmanager
def _friendly() -> Iterator[None]:
    """Print an error as a message and exit with its code."""
    try:
        yield
    except TrainingError as error:
        say(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"error: {where}{error.strerror or error}; fix this and run the same command again", err=True)
        sys.exit(TrainingError.exit_code)


def run() -> None:
    """The console script."""
    with _friendly():
        app(prog_name="lora-train")
