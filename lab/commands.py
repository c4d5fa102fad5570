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
from lab import lifecycle, rootfs
from lab.handle import Lab
from lab.providers import PROVIDERS
from lab.state import Rented
from training.options import CommandLine

app = CommandLine(no_args_is_help=True, add_completion=False, help="Manage local test machines (needs root).")
INSIDE = "sdfleet lab exec -- sdfleet"
"""Runs sdfleet in the lab's network, where its upstreams can be reached."""
console = Console(highlight=False, soft_wrap=True)


NO_SFTP = ":no-sftp"


@app.command()
def up(
    hosts: Annotated[int, typer.Option(min=0, metavar="COUNT", help="Number of machines with systemd: h1, h2 ...")] = 2,
    containers: Annotated[
        list[str],
        typer.Option(
            metavar="N|PROVIDER",
            help="Containers as they are rented, without systemd: c1, c2 ... A number (AutoDL's), or "
            f"{', '.join(PROVIDERS)} (with {NO_SFTP}: SSH without sftp). May be repeated.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer wants a list
    release: Annotated[
        rootfs.Release,
        typer.Option(metavar="NAME", envvar=rootfs.CHOICE, help="Debian release: bookworm is 12, trixie 13."),
    ] = rootfs.Release.BOOKWORM,
    start_command: Annotated[
        str,
        typer.Option(
            metavar="SHELL",
            help="Start command of all containers, as their provider's page has it, instead of the image's own.",
            show_default=False,
        ),
    ] = "",
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

    rented = [each.model_copy(update={"command": start_command}) for given in containers for each in _rented(given)]
    running = box.up(hosts, None, console.print, upstreams, rented, release.value)
    _show(running)
    for host in running.hosts:
        if host.rented:
            console.print(f"First, for {host.name}: sdfleet trust {host.name} --fleet {running.fleet}")
    if upstreams:
        console.print(f"\nNext: add a model to {running.fleet}, then: {INSIDE} lock --fleet {running.fleet}")
    else:
        console.print(f"\nNext: sdfleet apply --fleet {running.fleet}")


@app.command()
def status() -> None:
    """Show the running lab (exit code 1 if there is none)."""
    _show(_running())


HostName = Annotated[str, typer.Argument(metavar="HOST", help="The machine, e.g. h1 or c1.", show_default=False)]


@app.command()
def stop(host: HostName) -> None:
    """Stop one machine. A container's data disk is kept, its root file system as by its provider."""
    running = _running()
    running.host(host)
    running.stop(host)
    console.print(f"{host} is off. Next: sdfleet lab start {host}")


@app.command()
def start(host: HostName) -> None:
    """Start a machine that is off."""
    running = _running()
    running.host(host)
    running.start(host)
    console.print(f"{host} is running.")


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
    for title in ("host", "system", "address", "from here", "state"):
        table.add_column(title)
    for host in lab.hosts:
        state = "running" if answer.running[host.name] else "off"
        if host.name in answer.cut:
            state += ", network cut"
        system = f"{PROVIDERS[host.rented.provider].title} container" if host.rented else lab.state.release
        table.add_row(host.name, system, host.address, f"127.0.0.1:{host.port}", state)
    console.print(table)
    for name in answer.dead_helpers:
        console.print(f"{name} has ended; see {lab.folder.logs / name}.log", style="red")
    console.print(f"\nA shell on one: ssh -F {lab.ssh_config} {lab.hosts[0].name}")
    for host in lab.hosts:
        if host.rented:
            console.print(f"The password of {host.name}: {lab.folder.password(host.name)}")


def _rented(given: str) -> list[Rented]:
    """The containers that a value of --containers stands for. Raises typer.BadParameter."""
    if given.isdigit():
        return [Rented(provider="autodl")] * int(given)
    provider = given.removesuffix(NO_SFTP)
    for known in PROVIDERS:
        if provider == known:
            return [Rented(provider=known, sftp=not given.endswith(NO_SFTP))]
    raise typer.BadParameter(f"{given}: give a number, or one of {', '.join(PROVIDERS)}", param_hint="--containers")
