"""Template files, one folder per role; use `path` to find one and `render` to fill one."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).resolve().parent
_environment = Environment(
    loader=FileSystemLoader(HERE),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    autoescape=lambda name: bool(name and name.endswith(".html.j2")),
)


def systemd_word(word: str) -> str:
    """Quote a word for a command line in a unit (systemd.service(5)), without any expansion."""
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{word}"' if not word or re.search(r"[\s;'\"]", word) else word


def systemd_words(words: Iterable[object], instance: bool = False) -> str:
    """A command line in a unit. In that of a template, `%i` stays the name of the instance."""
    line = " ".join(systemd_word(str(word)) for word in words)
    return line.replace("%%i", "%i") if instance else line


_environment.filters["word"] = lambda value: systemd_word(str(value))
_environment.filters["words"] = systemd_words


def path(name: str) -> Path:
    """The path of template `name` ("role/file.j2"). Raises FileNotFoundError if there is none."""
    found = HERE / name
    if not found.is_file():
        raise FileNotFoundError(f"no template {name!r} in {HERE}")
    return found


def render(name: str, **values: object) -> str:
    """The text of template `name` filled with `values`; a missing value is an error."""
    return _environment.get_template(name).render(**values)


def page(name: str, shown: Callable[[str], str], **values: object) -> str:
    """The same for an HTML page; each text passes through `shown` first."""
    environment = _environment.overlay(finalize=lambda value: shown(value) if type(value) is str else value)
    return environment.get_template(name).render(**values)
