"""What `sdfleet check` looks at beyond the file itself."""

from pathlib import Path

from inventory.errors import ConfigError, Problem
from inventory.load import check
from inventory.model import Fleet
from roles.gateway.logins import LoginError, parse


def checked(file: Path) -> Fleet:
    """The fleet that `file` describes, if it and what it names on this machine are fine. Raises ConfigError."""
    fleet = check(file)
    logins = fleet.secrets.gateway_logins
    if logins and logins.file:  # a variable or a command may belong to another machine
        try:
            parse(logins.read("secrets.gateway_logins"))
        except LoginError as error:
            raise ConfigError(str(file), [Problem("", str(error))]) from error
    return fleet
