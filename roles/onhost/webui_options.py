"""Set options of the fleet in the WebUI's config.json, and take back those that it names no longer.

    webui_options.py --config FILE --options FILE

Must run while the WebUI does not: it writes its file when it ends. What an option was before the fleet set it is kept
beside config.json; it comes back when the fleet, or an earlier release that is gone back to, does not set it. Unless
somebody has changed it in the page since: then it stays as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

KEPT = "sdfleet-options.json"
"""Beside config.json: option -> what the fleet `set` and what it `was`, without the latter if it was not there."""


SMALL = 4_000_000
"""Bytes of a JSON file that is read."""


def text(file: Path) -> str:
    """What a file says; nothing if it is none, or so large that no WebUI wrote it."""
    # An extension can leave a FIFO or an endless file there: reading it would never end.
    small = file.is_file() and file.stat().st_size <= SMALL
    return file.read_text(errors="replace") if small else ""


def read(file: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if there is none or the file is damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(text(file))
        if isinstance(found, dict):
            return found
    return {}


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file beside its place, then rename it."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(content, indent=4) + "\n")
    new.replace(file)


def untouched(now: object, value: object) -> bool:
    """Whether an option still has the value it was given; the WebUI adds its hash to a checkpoint's name."""
    return now == value or (isinstance(now, str) and now.startswith(f"{value} ["))


def put(config: Path, options: dict[str, Any]) -> None:
    """Make `config` say what `options` say, and leave all others as they are or were."""
    kept = read(config.with_name(KEPT))
    if not options and not kept:
        return
    found = read(config)
    if config.exists() and not found and text(config).strip() != "{}":
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
    put(options.config, read(options.options))


if __name__ == "__main__":
    main()
