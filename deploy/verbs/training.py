"""`sdfleet train`: LoRA training runs on hosts."""

from pathlib import Path
from typing import Annotated

import typer

from deploy import completion
from deploy.names import DEFAULT_FILE
from deploy.options import Action, AsJson, FleetFile, Limit, checked_name
from training.options import CommandLine, given_path

app = CommandLine(no_args_is_help=True, help="Train LoRAs on the hosts.")

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        autocompletion=completion.runs,
        help="Name of a run; `sdfleet train list` shows them.",
        callback=lambda name: checked_name("RUN", name),
    ),
]
Into = Annotated[
    Path, typer.Option("--into", metavar="FOLDER", callback=given_path, help="Local folder for fetched runs.")
]
RUNS = Path("runs")
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="HOST",
        autocompletion=completion.hosts,
        help="Host of the run, if several hosts have one of that name.",
    ),
]
Then = Annotated[
    Action | None,
    typer.Option(
        "--then",
        metavar="stop",
        help="When the run has finished and its files are here, checked by sha256: stop its host, and the bill, by "
        "rental.stop_command.",
    ),
]


Follow = Annotated[bool, typer.Option(help="Follow the run to its end and fetch the result.")]


@app.command("run")
def run_config(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", callback=given_path, help="Training config (TOML).")],
    fleet: FleetFile = DEFAULT_FILE,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            metavar="HOST|GROUP",
            autocompletion=completion.hosts_and_groups,
            help="Host or group; the least busy host of a group is used.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run. Default: the config's name and the time.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeat for more.")
    ] = None,
    follow: Follow = True,
    into: Into = RUNS,
    then: Then = None,
) -> None:
    """Train on a host: send config and pictures, fetch the result."""
    from deploy.runs import train

    train.run_config(config, fleet, on, name, settings, follow, into, then)


@app.command("follow")
def follow_run(run: Run, fleet: FleetFile = DEFAULT_FILE, on: On = None, into: Into = RUNS, then: Then = None) -> None:
    """Follow a run to its end and fetch the result."""
    from deploy.runs import train

    train.follow_run(run, fleet, on, into, then)


@app.command()
def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", callback=given_path, help="A fetched run, e.g. runs/ink; its run.json is enough."
        ),
    ],
) -> None:
    """Write a run's HTML report again.

    It has the loss curve, samples, config and record.
    """
    from deploy.runs import train

    train.report(folder)


@app.command("list")
def list_runs(fleet: FleetFile = DEFAULT_FILE, limit: Limit = None, as_json: AsJson = False) -> None:
    """List the runs on the hosts."""
    from deploy.runs import train

    train.list_runs(fleet, limit, as_json)


@app.command()
def stop(run: Run, fleet: FleetFile = DEFAULT_FILE, on: On = None) -> None:
    """Write a checkpoint and stop a run."""
    from deploy.runs import train

    train.stop(run, fleet, on)


@app.command()
def resume(
    run: Run,
    fleet: FleetFile = DEFAULT_FILE,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            metavar="HOST",
            autocompletion=completion.hosts,
            help="Host that has the run; for a run on several hosts, those that continue it.",
        ),
    ] = None,
    follow: Follow = True,
    into: Into = RUNS,
    then: Then = None,
) -> None:
    """Resume a stopped or failed run from its last checkpoint."""
    from deploy.runs import train

    train.resume(run, fleet, on, follow, into, then)


@app.command()
def fetch(run: Run, fleet: FleetFile = DEFAULT_FILE, on: On = None, into: Into = RUNS) -> None:
    """Download a run's files: LoRA, log, record, samples."""
    from deploy.runs import train

    train.fetch(run, fleet, on, into)


@app.command()
def publish(
    run: Run,
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Name in the WebUI. Default: that of the trained file.")
    ] = None,
    on: On = None,
    into: Into = RUNS,
    chosen_file: Annotated[
        str | None, typer.Option("--file", help="File in the run's output/ to publish. Default: the finished LoRA.")
    ] = None,
    draw: Annotated[bool, typer.Option("--draw/--no-draw", help="Whether it is drawn with.")] = True,
) -> None:
    """Copy a run's LoRA to the hosts that draw; no restart.

    Each application then draws without it, with it and at weight 0, and the run's report shows whether it applies it.
    """
    from deploy.runs import train

    train.publish(run, fleet, limit, name, on, into, chosen_file, draw)


@app.command()
def remove(run: Run, fleet: FleetFile = DEFAULT_FILE, on: On = None) -> None:
    """Delete a run from its host. Fetched and published files stay."""
    from deploy.runs import train

    train.remove(run, fleet, on)


@app.command()
def reproduce(
    run: Run,
    fleet: FleetFile = DEFAULT_FILE,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="HOST",
            autocompletion=completion.hosts,
            help="Host to train on. Default: the one that trained it.",
        ),
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Train even if an input has changed.")] = False,
    into: Into = RUNS,
) -> None:
    """Repeat a run from its record and compare the results.

    The exit code is 3 if they differ.
    """
    from deploy.runs import train_again

    train_again.reproduce(run, fleet, on, anyway, into)


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", callback=given_path, help="Training config to vary.")],
    grid: Annotated[
        list[str], typer.Option("--grid", metavar="KEY=VALUES", help="For example lr=1e-4,5e-5; repeat for more keys.")
    ],
    fleet: FleetFile = DEFAULT_FILE,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            metavar="HOST|GROUP",
            autocompletion=completion.hosts_and_groups,
            help="Host or group to train on; repeat for more.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the sweep. Default: the config's name.")] = None,
    into: Into = RUNS,
) -> None:
    """Train a config with every combination of values, and compare.

    All free GPUs are used.

    Run the same command again to continue an interrupted sweep.
    """
    from deploy.runs import train_again

    train_again.sweep(config, grid, fleet, on, name, into)
