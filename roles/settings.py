"""The base class of the tables of fleet.toml, and types for values that reach paths, ssh, units and URLs."""

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from training.bounds import LONGEST_WAIT, bounded
from training.exact_types import exact
from training.usable_path import foreign, usable_path


class Settings(BaseModel):
    """A frozen table; unknown keys are errors, so that a typo is never silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _exact(cls, value: Any, info: ValidationInfo) -> Any:
        return exact(cls, value, info)

    @field_validator("*")
    @classmethod
    def _bounded(cls, value: Any, info: ValidationInfo) -> Any:
        return bounded(cls, value, info)


class SettingError(ValueError):
    """What a setting asks for cannot be done.

    + key: the setting, such as webui.requirements; which table of fleet.toml has it is not known here
    + says: why, for a person
    """

    def __init__(self, key: str, says: str) -> None:
        super().__init__(f"{key}: {says}")
        self.key, self.says = key, says


def raise_all(problems: Sequence[str], value: Any) -> None:
    """End a validator of `value` with all of its problems; a ValueError could report only one.

    Raises ValidationError if there are any.
    """
    if problems:
        errors = [InitErrorDetails(type=PydanticCustomError("setting", text), loc=(), input=value) for text in problems]
        raise ValidationError.from_exception_data("settings", errors)


LONGEST_NAME = 64
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
USER = re.compile(r"[A-Za-z_][A-Za-z0-9._@-]{0,63}")
LABELS = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
A_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
"""A last label that programs read as a part of an IPv4 address."""
NO_IP = "no IP address: four numbers from 0 to 255, without leading zeros"
REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@-]*")
FOLDER = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._+@-]*)+")
SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "tmp", "usr", "var/tmp")
"""Folders of the system, or emptied at boot: nothing that must last belongs below them."""
SHARED = ("mnt", "media", "opt", "srv", "var", "var/lib", "var/cache", "var/log", "home", "root")
"""Folders shared with other programs, or homes; one below them is fine."""
UNITS_OF_TIME = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DURATION = re.compile(r"[0-9]{1,6}[smhd]")
MINUTE = 60


def is_name(value: str) -> str:
    """A name that is valid for files, hosts and units. ValueError if it is not."""
    if not NAME.fullmatch(value) or len(value) > LONGEST_NAME:
        raise ValueError(
            f"{value!r} must be letters, digits and . _ -, begin with a letter or digit, {LONGEST_NAME} at most"
        )
    return value


def is_line(value: str) -> str:
    """Text without control characters, since it becomes a line of a unit or configuration file."""
    if not value.isprintable():
        raise ValueError(f"{value!r} has a line break or another character that cannot be printed")
    return value


def is_user(value: str) -> str:
    """A login name."""
    if not USER.fullmatch(value):
        raise ValueError(f"{value!r} is no user name: letters, digits and . _ - @, beginning with a letter")
    return value


def is_address(value: str) -> str:
    """A DNS name or an IP address, alone."""
    if is_ip(value):
        return value
    if LABELS.fullmatch(value) and len(value) <= 253:
        if why := mistyped_ip(value):
            raise ValueError(f"{value!r} is {why}")
        return value
    if " " in value.strip():
        raise ValueError(
            f"{value!r} is a command line; give the name or IP address alone, with `user` and `port` beside it"
        )
    if "@" in value:
        raise ValueError(f"{value!r} has a user in it; give the name or IP address alone, and `user` beside it")
    if re.fullmatch(r"[A-Za-z0-9._-]+:\d+|\[.*\](:\d+)?", value):
        raise ValueError(f"{value!r} has a port or brackets; give the name or IP address alone, and `port` beside it")
    raise ValueError(f"{value!r} is neither a host name nor an IP address")


def mistyped_ip(name: str) -> str:
    """Why a host name can only be meant as an IPv4 address, and is none, such as 203.0.113.1O; "" if it may be a name.

    No top-level domain is a number (RFC 3696, 2), and programs read 0x7f as one (the WHATWG's URLs). A name of one's
    own network may begin its last label with a digit, as box.4090ti does.
    """
    labels = name.rstrip(".").split(".")
    like_an_address = len(labels) == 4 and all(label[:1].isdigit() for label in labels)
    if is_ip(name) or not (like_an_address or A_NUMBER.fullmatch(labels[-1])):
        return ""
    wrong = next((label for label in labels if not label.isdigit()), "")
    return f"no IP address: {wrong!r} is no number" if like_an_address and wrong else NO_IP


def split_jump(value: str) -> tuple[str, str, int | None]:
    """User ("" if none), address and port of [USER@]HOST[:PORT]; an IPv6 address is in brackets."""
    user, _, place = value.rpartition("@")
    found = re.fullmatch(r"\[(?P<v6>[0-9A-Fa-f:.]+)\](?::(?P<p6>\d+))?|(?P<name>[^:\[\]]+)(?::(?P<port>\d+))?", place)
    if not found:
        raise ValueError(f"{value!r} is no jump host: [USER@]HOST[:PORT], an IPv6 address in brackets")
    port = found["p6"] or found["port"]
    if port and not 1 <= int(port) <= 65535:
        raise ValueError(f"{value!r} has no port: they go from 1 to 65535")
    return (
        (is_user(user) if "@" in value else ""),
        is_address(found["v6"] or found["name"]),
        int(port) if port else None,
    )


def is_jump(value: str) -> str:
    """[USER@]HOST[:PORT], several separated by commas."""
    for hop in value.split(","):
        split_jump(hop.strip())
    return value


def is_url(value: str) -> str:
    """An http(s) URL that is safe in a configuration file; a slash at its end is removed."""
    if not value.startswith(("https://", "http://")):
        raise ValueError(f"{value!r} is not an http(s) URL")
    return _plain_url(value).rstrip("/")


def is_git_url(value: str) -> str:
    """A clone URL of a transport that cannot run commands."""
    if not value.startswith(("https://", "http://", "ssh://", "git@", "file://", "/")):
        raise ValueError(f"{value!r} is not a git URL")
    return _plain_url(value)


def is_ref(value: str) -> str:
    """A branch, tag or commit id."""
    if not REF.fullmatch(value) or ".." in value or value.endswith((".lock", "/")):
        raise ValueError(f"{value!r} is no branch, tag or commit id")
    return value


def is_data_root(value: Path) -> Path:
    """A folder on the hosts for everything that sdfleet installs."""
    place = PurePosixPath(value)
    if why := foreign(value, "the hosts"):
        raise ValueError(f"{str(value)!r} {why}")
    if not place.is_absolute():
        raise ValueError(f"{str(value)!r} is relative; give the whole path, e.g. /srv/sdfleet")
    if not FOLDER.fullmatch(str(place)):
        raise ValueError(
            f"{str(value)!r} must be a folder below /, of letters, digits and . _ + @ - (no blanks, no ..)"
        )
    name = str(place)[1:]
    home_of_somebody = place.parts[1] == "home" and len(place.parts) == 3
    if name in SHARED or home_of_somebody or any(name == system or name.startswith(f"{system}/") for system in SYSTEM):
        raise ValueError(f"{str(value)!r} belongs to the system; give a folder of its own, e.g. /srv/sdfleet")
    return value


def is_duration(value: str) -> str:
    """A time such as "30m": a whole number and s, m, h or d; from a minute to a week."""
    if not DURATION.fullmatch(value):
        raise ValueError(f"{value!r} is no time: write a number and its unit (s, m, h, d), e.g. 30m")
    if not MINUTE <= seconds_of(value) <= LONGEST_WAIT:
        raise ValueError(f"{value!r} must be from 1m to 7d")
    return value


def seconds_of(duration: str) -> int:
    """A valid duration in s."""
    return int(duration[:-1]) * UNITS_OF_TIME[duration[-1]]


def is_local_path(value: Path) -> Path:
    """A path on the controller that can be written in ssh's configuration."""
    text = str(value)
    if '"' in text or not text.isprintable():
        raise ValueError(f"{text!r} has a quote or a line break in it, which ssh cannot read; move the file")
    return value


def is_ip(value: str) -> bool:
    try:
        return "%" not in value and bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def _plain_url(value: str) -> str:
    if re.search(r"[\s\"'\\<>`{}|^$;]", value) or not value.isprintable():
        raise ValueError(f"{value!r} has a character that no URL has; write it percent-encoded")
    if "://" in value and not value.startswith("file:"):
        try:
            parts = urlsplit(value)
            found = parts.hostname and (parts.port is None or parts.port)
        except ValueError as error:
            raise ValueError(f"{value!r} is no URL: {error}") from error
        if not found or not parts.hostname:
            raise ValueError(f"{value!r} names no host")
        if why := mistyped_ip(parts.hostname):
            raise ValueError(f"{parts.hostname!r} in {value!r} is {why}")
    return value


Name = Annotated[str, AfterValidator(is_name)]
Line = Annotated[str, AfterValidator(is_line)]
User = Annotated[str, AfterValidator(is_user)]
Address = Annotated[str, AfterValidator(is_address)]
Jump = Annotated[str, AfterValidator(is_jump)]
Url = Annotated[str, AfterValidator(is_url)]
GitUrl = Annotated[str, AfterValidator(is_git_url)]
Ref = Annotated[str, AfterValidator(is_ref)]
Duration = Annotated[str, AfterValidator(is_duration)]
DataRoot = Annotated[Path, AfterValidator(is_data_root)]
ControllerPath = Annotated[Path, AfterValidator(usable_path)]
"""A path on the controller; ~ is expanded."""
LocalPath = Annotated[ControllerPath, AfterValidator(is_local_path)]
