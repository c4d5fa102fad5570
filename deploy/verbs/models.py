"""`sdfleet models`: list, add, convert, adopt, check and prune models."""

from typing import Annotated

import typer

from deploy import completion
from deploy.names import DEFAULT_FILE
from deploy.options import FleetFile, Limit
from training.options import CommandLine

app = CommandLine(no_args_is_help=True, help="List, add, check and prune models.")

Only = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        "-l",
        "--host",
        metavar="HOST|GROUP",
        autocompletion=completion.hosts_and_groups,
        help="Limit to this host or group; repeat for more.",
    ),
]


@app.command("list")
def show(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Only = None,
    sha256: Annotated[bool, typer.Option("--sha256", help="Show whole hashes instead of their beginning.")] = False,
) -> None:
    """List models with size, hash, source, and the hosts that have them.

    The hash is shown as the WebUI shows it (AutoV2).
    """
    from deploy import models

    models.show(fleet, limit, sha256)


@app.command()
def add(
    pasted: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="URL of a page or file, Civitai AIR, sha256 or AutoV2 hash, or a source (hf:...)."
        ),
    ],
    fleet: FleetFile = DEFAULT_FILE,
    name: Annotated[str | None, typer.Option(help="Name of the model. Default: its name at the source.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Kind of the model, if neither its source nor its file says.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Expected sha256.")] = None,
) -> None:
    """Add a model to fleet.toml from a URL, an AIR, a hash or a source."""
    from deploy import models

    models.add(pasted, fleet, name, kind, sha256)


@app.command()
def convert(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", autocompletion=completion.models, help="Name of a model whose file is a pickle."
        ),
    ],
    host: Annotated[
        str,
        typer.Option(
            autocompletion=completion.hosts,
            help="Host that has the model, in the group webui or train (it needs torch).",
        ),
    ],
    fleet: FleetFile = DEFAULT_FILE,
) -> None:
    """Convert a pickle to safetensors on a host, in a sandbox."""
    from deploy import models

    models.convert(name, host, fleet)


@app.command(name="adopt")
def adopt_folder(
    host: Annotated[
        str, typer.Argument(metavar="HOST", autocompletion=completion.hosts, help="Host that has the files.")
    ],
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder on the host, searched with its subfolders.")],
    fleet: FleetFile = DEFAULT_FILE,
    copy: Annotated[bool, typer.Option("--copy", help="Copy files that can be neither shared nor linked.")] = False,
) -> None:
    """Take model files that a host already has into its store.

    Prints their entries for fleet.toml. They are hashed where they are and never fetched again.

    Nothing in the folder is changed.

    The exit code is 1 if a file could not be taken.
    """
    from deploy import models

    models.adopt_folder(host, folder, fleet, copy)


@app.command()
def prune(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete files from the stores that no model needs.

    Files put there by hand stay.
    """
    from deploy import models

    models.prune(fleet, limit, yes)


@app.command()
def check(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    remove: Annotated[bool, typer.Option("--remove", help="Delete damaged files, so that apply fetches them.")] = False,
) -> None:
    """Read every file of the stores and compare its sha256.

    The exit code is 3 if one is damaged.
    """
    from deploy import models

    models.check(fleet, limit, remove)
