"""`sdfleet lab`: manage local test machines."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from inventory import extras
from inventory.errors import SdfleetError
from lab import lifecycle
from lab.handle import Lab
from training.options import CommandLine

app = CommandLine(no_args_is_help=True, help="Manage local test machines (needs root).")
INSIDE = "sdfleet lab exec -- sdfleet"
"""Runs sdfleet in the lab's network, where its upstreams can be reached."""
console = Console(highlight=False, soft_wrap=True)


@app.command()
def up(
    hosts: Annotated[int, typer.Option(metavar="COUNT", help="Number of machines.")] = 2,
    upstreams: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of bare git repositories, OWNER/NAME.git, to serve as GitHub's: "
            "the hosts then get the real WebUI from it instead of the stand-in.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Start test machines; they run until `sdfleet lab down`."""
    extras.require("sdfleet lab up")
    from lab import box

    running = box.up(hosts, say=console.print, upstreams=upstreams)
    _show(running)
    if upstreams:
        console.print(f"\nNext: add a model to {running.fleet}, then: {INSIDE} lock --fleet {running.fleet}")
    else:
        console.print(f"\nNext: sdfleet apply --fleet {running.fleet}")


@app.command()
def status() -> None:
    """Show the running lab (exit code 1 if there is none)."""
    _show(_running())


@app.command()
def down() -> None:
    """Stop the lab and delete its machines; also cleans up after a killed lab."""
    console.print("The lab is stopped." if lifecycle.down() else "No lab was running.")


@app.command(name="exec", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def execute(
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="The program and its arguments.", show_default=False)
    ],
) -> None:
    """Run a program inside the lab's network: sdfleet lab exec -- curl http://10.77.0.1:8080/"""
    sys.exit(subprocess.run(_running().enter(command), check=False).returncode)


def _running() -> Lab:
    running = lifecycle.status()
    if running is None:
        raise SdfleetError("no lab is running; start one: sdfleet lab up")
    return running


def _show(lab: Lab) -> None:
    answer = lab.status()
    table = Table(box=None, pad_edge=False)
    for title in ("host", "address", "from here", "state"):
        table.add_column(title)
    for host in lab.hosts:
        state = "running" if answer.running[host.name] else "off"
        if host.name in answer.cut:
            state += ", network cut"
        table.add_row(host.name, host.address, f"127.0.0.1:{host.port}", state)
    console.print(table)
    for name in answer.dead_helpers:
        console.print(f"{name} has ended; see {lab.folder.logs / name}.log", style="red")
    console.print(f"\nA shell on one: ssh -F {lab.ssh_config} {lab.hosts[0].name}")
