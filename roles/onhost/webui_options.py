"""Set options of the fleet in the WebUI's config.json, and take back those that it names no longer.

    webui_options --config FILE --options FILE

Must run while the WebUI does not: it writes its file when it ends. What an option was before the fleet set it is kept
beside config.json; it comes back when the fleet, or an earlier release that is gone back to, does not set it. Unless
somebody has changed it in the page since: then it stays as it is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from roles.onhost import files
from roles.onhost.files import read_json

KEPT = "sdfleet-options.json"
"""Beside config.json: option -> what the fleet `set` and what it `was`, without the latter if it was not there."""


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    files.write(file, json.dumps(content, indent=4) + "\n")


def untouched(now: object, value: object) -> bool:
    """Whether an option still has the value it was given; the WebUI adds its hash to a checkpoint's name."""
    return now == value or (isinstance(now, str) and now.startswith(f"{value} ["))


def put(config: Path, options: dict[str, Any]) -> None:
    """Make `config` say what `options` say, and leave all others as they are or were."""
    kept = {
        name: entry
        for name, entry in read_json(config.with_name(KEPT)).items()
        if isinstance(entry, dict) and "set" in entry  # extensions can write there too
    }
    if not options and not kept:
        return
    found = read_json(config)
    if config.exists() and not found and files.read(config).strip() != b"{}":
        print(f"sdfleet: {config} is damaged: it is kept as {config.name}.damaged", flush=True)
        config.replace(config.with_name(f"{config.name}.damaged"))
    for name in kept.keys() - options.keys():
        given = kept.pop(name)
        if untouched(found.get(name), given["set"]):
            found.pop(name, None)
            found.update({name: given["was"]} if "was" in given else {})
    for name, value in options.items():
        before = {"was": found[name]} if name in found else {}
        kept[name] = {**kept.get(name, before), "set": value}
    write(config.with_name(KEPT), kept)
    write(config, {**found, **options})


def main() -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the WebUI's config.json")
    parser.add_argument("--options", type=Path, required=True, help="JSON file with what must stand in it")
    options = parser.parse_args()
    put(options.config, read_json(options.options))
