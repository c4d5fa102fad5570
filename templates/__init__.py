"""Template files, one folder per role; `path` is the only way to find one, `render` the only way to fill one."""

import re
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).resolve().parent
_environment = Environment(
    loader=FileSystemLoader(HERE),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    autoescape=lambda name: bool(name and name.endswith(".html.j2")),
)


def path(name: str) -> Path:
    """Where template `name` ("role/file.j2") lies; FileNotFoundError if there is none."""
    found = HERE / name
    if not found.is_file():
        raise FileNotFoundError(f"no template {name!r} in {HERE}")
    return found


def render(name: str, **values: object) -> str:
    """The text of template `name` filled with `values`; a value it needs and lacks is an error."""
    return _environment.get_template(name).render(**values)


def page(name: str, shown: Callable[[str], str], **values: object) -> str:
    """The same for a page of HTML; each text passes through `shown` first."""
    environment = _environment.overlay(finalize=lambda value: shown(value) if type(value) is str else value)
    return environment.get_template(name).render(**values)


def systemd_word(word: str) -> str:
    """A word as systemd.service(5) wants it in a command line: nothing expanded, one word."""
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{word}"' if not word or re.search(r"[\s;'\"]", word) else word
