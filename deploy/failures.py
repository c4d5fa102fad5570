"""Errors as `--json` tells them: what failed, where, and what to do next."""

from deploy.connection.ssh import HostError
from deploy.documents import Failure, Lost
from inventory.errors import ConfigError, SdfleetError

AGAIN = "Fix this, then run the same command again."


def failure(host: str, error: HostError) -> Failure:
    """Why a host failed."""
    return Failure(error.says, host, _next(error))


def lost(host: str, error: HostError, warning: str = "") -> Lost:
    """A host that did not answer, with what else is known of it."""
    return Lost(error=failure(host, error), warning=warning)


def failures(error: Exception) -> tuple[Failure, ...]:
    """What ended a command; empty if it was a mistake of ours."""
    if isinstance(error, HostError):
        return (failure(error.host, error),)
    if isinstance(error, ConfigError):
        places = ((f"{error.where}: {each.key}" if each.key else error.where, each) for each in error.problems)
        return tuple(Failure(each.message, where, AGAIN) for where, each in places)
    if isinstance(error, SdfleetError):
        return tuple(Failure(line, next=AGAIN) for line in str(error).splitlines())
    if isinstance(error, OSError):  # a full disk, a folder that others own, a name that is too long
        return (Failure(error.strerror or str(error), str(error.filename or ""), AGAIN),)
    if say := getattr(error, "format_message", None):  # typer's, for wrong usage; its class depends on the version
        return (Failure(say(), next="Run the command with --help."),)
    return ()


def _next(error: HostError) -> str:
    return f"{error.cure[0].upper()}{error.cure[1:]}." if error.cure else AGAIN
