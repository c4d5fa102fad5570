"""docs/settings.md: every setting of fleet.toml, from the models that validate it."""

from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from inventory.model import ROLE_TABLES, FleetTable, GroupTable, HostTable
from inventory.rollout import Rollout
from inventory.secrets import Secrets
from roles.models.config import Model
from roles.settings import Settings

HEAD = """# Settings of fleet.toml

Made from the code by `sdfleet schema --markdown`; `sdfleet schema` prints the JSON Schema for editors.
Tables of roles (`[base]` and so on) may stand again below `[groups.NAME]` and `[hosts.NAME]`, where they
override single settings: `webui.port = 7861`. The host wins over its groups (the last one named first), the
groups over the fleet, the fleet over the mirror preset and the defaults.
"""


def text() -> str:
    """The page, in Markdown."""
    tables: dict[str, type[Settings]] = {
        "[fleet]": FleetTable,
        "[fleet.rollout]": Rollout,
        "[hosts.NAME]": HostTable,
        "[groups.NAME]": GroupTable,
        "[[models]]": Model,
        "[secrets]": Secrets,
        **{f"[{role}]": kind for role, kind in ROLE_TABLES.items()},
    }
    return "\n".join([HEAD, *(line for title, kind in tables.items() for line in _table(title, kind))])


def _table(title: str, kind: type[Settings]) -> Iterator[str]:
    yield f"## `{title}`\n"
    if kind.__doc__:
        yield kind.__doc__.strip().splitlines()[0] + "\n"
    yield "| setting | default | meaning |\n|--|--|--|"
    for name, field in kind.model_fields.items():
        meaning = (field.description or "").replace("|", "\\|").replace("<", "&lt;")
        yield f"| `{name}` | {_default(field)} | {meaning} |"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "" if field.default is None or isinstance(field.default, Settings) else f"`{_shown(field.default)}`"


def _shown(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case dict():
            return "{ " + ", ".join(value) + " }" if value else "{}"
        case tuple():
            return "[" + ", ".join(_shown(item) for item in value) + "]"
    return f'"{value}"'
