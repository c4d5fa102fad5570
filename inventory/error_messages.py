"""Error sentences for tables of fleet.toml."""

from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from pydantic_core import ErrorDetails

from inventory.errors import Problem
from roles.settings import Settings
from training.errors import quoted
from training.spelling import did_you_mean_or_all

SECRETS = {"password", "key_passphrase", "sudo_password", "http_proxy"}
"""Settings of hosts that refer to a secret."""


WANTED = {
    "tuple_type": "must be a list, like [...]",
    "model_type": "must be a table",
    "dict_type": "must be a table, like { NAME = ... }",
}
"""pydantic's errors in TOML's words."""


def without_consequences(details: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """pydantic's errors without those that others cause: a list with an invalid item is not too short."""
    for detail in details:
        inside = [other for other in details if other["loc"][:-1] == detail["loc"] and other is not detail]
        if detail["type"] != "too_short" or not inside:
            yield detail


def problem(detail: ErrorDetails, kind: type[Settings], at: str, extra: Iterable[str]) -> Problem:
    """The sentence for one of pydantic's errors in the table `at`.

    + extra: names that are allowed besides the fields of `kind`
    """
    # A proxy's reference is one level deeper in the model than in the file.
    inside = detail["loc"][1:2] == ("secret",)
    key = ".".join((at, *(str(part) for part in detail["loc"] if not (inside and part == "secret"))))
    if detail["type"] == "extra_forbidden":
        names = [*_fields_at(kind, detail["loc"][:-1]), *extra]
        return Problem(key, f"unknown setting{did_you_mean_or_all(str(detail['loc'][-1]), names)}")
    if detail["type"] == "missing":
        return Problem(key, "is required")
    if detail["type"] == "too_short":
        return Problem(key, "must not be empty")
    message = WANTED.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    message = message[0].lower() + message[1:]
    value = detail["input"]
    # Never print a secret that was written into the file, and do not repeat a value that is in the message.
    secret = at == "secrets" or not SECRETS.isdisjoint(detail["loc"])
    told = secret or repr(value) in message or repr(str(value)) in message
    if secret and detail["type"] == "model_type":
        message = 'must be a reference like { env = "NAME" }'
    shown = "" if told or isinstance(value, dict | list | tuple | Settings) else f" (is {quoted(value)})"
    return Problem(key, f"{message}{shown}")


def _fields_at(kind: type[Settings], loc: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the model at `loc` below `kind`."""
    for part in loc:
        field = kind.model_fields.get(str(part))
        inner = field.annotation if field else None
        for possible in (inner, *get_args(inner)):
            if isinstance(possible, type) and issubclass(possible, Settings):
                kind = possible
    return list(kind.model_fields)
