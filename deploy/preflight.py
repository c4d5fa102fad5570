"""What `sdfleet check` validates besides fleet.toml itself."""

from pathlib import Path

from inventory.errors import ConfigError, Problem
from inventory.load import check
from inventory.model import Fleet
from roles.gateway.logins import LoginError, parse_logins


def checked(file: Path) -> Fleet:
    """The fleet in `file`. Raises ConfigError if it, or a file that it names on this machine, has a mistake."""
    fleet = check(file)
    logins = fleet.secrets.gateway_logins
    if logins and logins.file:  # a variable or a command may belong to another machine
        try:
            parse_logins(logins.read("secrets.gateway_logins"))
        except LoginError as error:
            raise ConfigError(str(file), [Problem("", str(error))]) from error
    return fleet
