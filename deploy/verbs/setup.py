"""The verbs that begin a fleet: init, check, config, trust, schema."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy import completion
from deploy.names import DEFAULT_FILE
from deploy.options import SETUP, AsJson, FleetFile, HostName
from training.options import given_path


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", callback=given_path, help="File to write.")] = DEFAULT_FILE,
) -> None:
    """Write a commented fleet.toml to start from."""
    from deploy.console import out
    from inventory import example

    example.write(file)
    out.print(f"Wrote {file}. Edit its [hosts.*] tables, then: sdfleet check")


def check(fleet: FleetFile = DEFAULT_FILE) -> None:
    """Validate fleet.toml and list every mistake.

    The exit code is 2 if there are any.
    """
    from deploy import config

    config.check(fleet)


def config(
    host: Annotated[
        str | None,
        typer.Argument(metavar="HOST", autocompletion=completion.hosts, help="Host to show. Default: the fleet's."),
    ] = None,
    fleet: FleetFile = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Print the merged settings, and where each comes from.

    The output is TOML. Secrets are not shown.
    """
    from deploy import config

    raise typer.Exit(config.run(fleet, host, as_json))


def trust(
    host: HostName,
    fleet: FleetFile = DEFAULT_FILE,
    replace_host_key: Annotated[
        bool, typer.Option("--replace-host-key", help="Accept a new host key, for example after a reinstall.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="First write this address of the host into fleet.toml, as the provider shows it: "
            '"ssh -p 2222 root@HOST". For a container that was made anew.',
        ),
    ] = None,
) -> None:
    """Log in by password once to install this machine's SSH key."""
    from deploy import trust

    trust.at(fleet, host, address, replace_host_key)


def print_schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of JSON Schema.")] = False,
) -> None:
    """Print the JSON Schema of fleet.toml, for editors."""
    from inventory import reference, schema

    sys.stdout.write(reference.text() if markdown else schema.text())


def mount(app: typer.Typer) -> None:
    """Add these verbs to `app`."""
    for verb in (init, check, config, trust):
        app.command(rich_help_panel=SETUP)(verb)
    app.command("schema", rich_help_panel=SETUP)(print_schema)
