"""Options that several verbs share, and the hosts they choose.

What the work needs is imported late: completion and --help read only these signatures.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy import completion
from inventory.errors import ConfigError, Problem
from training.options import given_path

if TYPE_CHECKING:
    from inventory.model import Fleet, HostSettings

SETUP, DEPLOY, OPERATE, CONTENT, LOCAL = "Set up", "Deploy", "Operate", "Models and training", "Try it locally"
"""Headings of `sdfleet --help`, in the order of `deploy.cli`."""


class Language(StrEnum):
    """What `--lang` can say."""

    EN = "en"
    ZH = "zh"


class Action(StrEnum):
    """What `--then` can do."""

    STOP = "stop"


FleetFile = Annotated[
    Path,
    typer.Option("--fleet", envvar="SDFLEET_FILE", metavar="FILE", callback=given_path, help="Path of the fleet file."),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        "-l",
        metavar="HOST|GROUP",
        autocompletion=completion.hosts_and_groups,
        help="Limit to this host or group; repeat for more.",
    ),
]
Role = Annotated[
    list[str] | None,
    typer.Option(
        "--role", "-r", metavar="ROLE", autocompletion=completion.roles, help="Limit to this role; repeat for more."
    ),
]
Diff = Annotated[bool, typer.Option("--diff", help="Show what changes inside files.")]


def _text_to_stderr(context: typer.Context, wanted: bool) -> bool:
    """While a command prints a document, its text for people goes to standard error."""
    if wanted:
        from deploy.console import out

        out.stderr = True
        context.call_on_close(lambda: setattr(out, "stderr", False))
    return wanted


AsJson = Annotated[
    bool, typer.Option("--json", callback=_text_to_stderr, help="Print one JSON document for programs: docs/json.md.")
]
Several = Annotated[
    str,
    typer.Argument(
        metavar="HOST|GROUP",
        autocompletion=completion.several,
        help="Host or group; several with commas between: gpu-1,gpu-2.",
    ),
]
HostName = Annotated[
    str, typer.Argument(metavar="HOST", autocompletion=completion.hosts, help="Name of a host in fleet.toml.")
]


def checked_name(option: str, name: str) -> str:
    """The name of a run, a sweep or a file. Raises ConfigError if it could be a path."""
    from deploy.runs import names

    if not names.NAME.fullmatch(name):
        said = f"{name!r} must begin with a letter or digit and have only letters, digits and . _ -, 100 at most"
        raise ConfigError(option, [Problem("", said)])
    return name


def chosen(fleet: Path, limit: Sequence[str] | None) -> "list[HostSettings]":
    """The hosts of the file `fleet` that --limit leaves. Raises ConfigError."""
    from deploy.engine.client import select_hosts
    from inventory.load import load

    loaded = load(fleet)
    return [loaded.hosts[name] for name in select_hosts(loaded, limit or ())]


def pinned(fleet: Path, limit: Sequence[str] | None, roles: Sequence[str]) -> "list[HostSettings]":
    """The same. Raises ConfigError too if something of their `roles` is not pinned: nobody can say what is wanted."""
    from deploy.engine.client import select_hosts
    from inventory import lock
    from inventory.load import load

    loaded = load(fleet)
    names = select_hosts(loaded, limit or ())
    lock.require(loaded, names, roles)
    return [loaded.hosts[name] for name in names]


def several_hosts(fleet: Path, names: str, given_by: str) -> "list[HostSettings]":
    """The hosts of `names`, hosts and groups with commas between; alone, a host goes before a group of its name.

    Raises ConfigError.
    """
    from deploy.engine.client import select_hosts
    from inventory.load import load

    loaded = load(fleet)
    chosen = (names,) if names in loaded.hosts else select_hosts(loaded, names.split(","), given_by)
    return [loaded.hosts[name] for name in chosen]


def one_host(fleet: Path, name: str) -> "HostSettings":
    """The host `name` of the file `fleet`. Raises ConfigError if there is none."""
    from inventory.load import load

    return host_of(load(fleet), fleet, name)


def host_of(fleet: "Fleet", file: Path, name: str) -> "HostSettings":
    """The host `name` of a fleet that was loaded from `file`. Raises ConfigError if there is none."""
    if name not in fleet.hosts:
        raise ConfigError(str(file), [Problem("", f"no host {name!r}; known are {', '.join(fleet.hosts)}")])
    return fleet.hosts[name]


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
