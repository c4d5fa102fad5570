"""The JSON Schema of fleet.toml, made from the same models that validate it."""

import json
from typing import Any

from pydantic.json_schema import models_json_schema

from inventory.model import ROLE_TABLES, FleetTable, GroupTable, HostTable
from inventory.secrets import Secrets
from roles.models.config import Model
from roles.settings import Settings

REFERENCE = "#/$defs/"


def text() -> str:
    return json.dumps(_schema(), indent=2, sort_keys=True) + "\n"


def _schema() -> dict[str, Any]:
    kinds: tuple[type[Settings], ...] = (FleetTable, GroupTable, HostTable, Secrets, Model, *ROLE_TABLES.values())
    _, definitions = models_json_schema([(kind, "validation") for kind in kinds])
    defs: dict[str, Any] = definitions["$defs"]
    tables = {role: {"$ref": REFERENCE + kind.__name__} for role, kind in ROLE_TABLES.items()}
    for owner in (GroupTable, HostTable):
        defs[owner.__name__].setdefault("properties", {}).update(tables)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fleet.toml",
        "type": "object",
        "additionalProperties": False,
        "required": ["fleet", "hosts"],
        "properties": {
            "fleet": {"$ref": REFERENCE + "FleetTable"},
            "hosts": {"type": "object", "additionalProperties": {"$ref": REFERENCE + "HostTable"}},
            "groups": {"type": "object", "additionalProperties": {"$ref": REFERENCE + "GroupTable"}},
            "models": {"type": "array", "items": {"$ref": REFERENCE + "Model"}},
            "secrets": {"$ref": REFERENCE + "Secrets"},
            **tables,
        },
        "$defs": defs,
    }
