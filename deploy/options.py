"""Options that several verbs share, and the hosts they choose."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.console import out
from deploy.engine_client import select_hosts
from deploy.runs import names
from inventory.errors import ConfigError, Problem
from inventory.load import load
from inventory.model import HostSettings
from training.options import given_path

SETUP, DEPLOY, OPERATE, CONTENT, LOCAL = "Set up", "Deploy", "Operate", "Models and training", "Try it locally"
"""Headings of `sdfleet --help`, in the order of `deploy.cli`."""
DEFAULT_FILE = Path("fleet.toml")
FleetFile = Annotated[
    Path,
    typer.Option("--fleet", envvar="SDFLEET_FILE", metavar="FILE", callback=given_path, help="Path of the fleet file."),
]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", "-l", metavar="HOST|GROUP", help="Limit to this host or group; repeat for more."),
]
Role = Annotated[
    list[str] | None, typer.Option("--role", "-r", metavar="ROLE", help="Limit to this role; repeat for more.")
]
Diff = Annotated[bool, typer.Option("--diff", help="Show what changes inside files.")]


def _text_to_stderr(context: typer.Context, wanted: bool) -> bool:
    """While a command prints a document, its text for people goes to standard error."""
    if wanted:
        out.stderr = True
        context.call_on_close(lambda: setattr(out, "stderr", False))
    return wanted


AsJson = Annotated[
    bool, typer.Option("--json", callback=_text_to_stderr, help="Print one JSON document for programs: docs/json.md.")
]
HostName = Annotated[str, typer.Argument(metavar="HOST", help="Name of a host in fleet.toml.")]


def checked_name(option: str, name: str) -> str:
    """The name of a run, a sweep or a file. Raises ConfigError if it could be a path."""
    if not names.NAME.fullmatch(name):
        said = f"{name!r} must begin with a letter or digit and have only letters, digits and . _ -, 100 at most"
        raise ConfigError(option, [Problem("", said)])
    return name


def chosen(fleet: Path, limit: Sequence[str] | None) -> list[HostSettings]:
    """The hosts of the file `fleet` that --limit leaves. Raises ConfigError."""
    loaded = load(fleet)
    return [loaded.hosts[name] for name in select_hosts(loaded, limit or ())]


def one_host(fleet: Path, name: str) -> HostSettings:
    """The host `name` of the file `fleet`. Raises ConfigError if there is none."""
    hosts = load(fleet).hosts
    if name not in hosts:
        raise ConfigError(str(fleet), [Problem("", f"no host {name!r}; known are {', '.join(hosts)}")])
    return hosts[name]


def command_with_json(app: typer.Typer, arguments: Sequence[str]) -> str:
    """The command that `arguments` ask to print a document, such as "train list"; empty if they do not."""
    if "--json" not in arguments:
        return ""
    command: Any = typer.main.get_command(app)
    words = []
    for word in arguments:
        if not (below := getattr(command, "commands", {}).get(word)):
            break
        command = below
        words.append(word)
    return " ".join(words) if any("--json" in option.opts for option in command.params) else ""
