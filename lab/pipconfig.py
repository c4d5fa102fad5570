"""The settings of this machine's own pip, so that the lab's hosts get packages from the same sources."""

import ast
import functools
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from inventory.errors import SdfleetError
from lab.state import Frozen

PYPI = "https://pypi.org/simple"
SECTIONS = ("global", "install", ":env:")
"""Sections of pip's configuration that apply to `pip install`; later ones win."""


class PipConfig(Frozen):
    """Package sources and trusted certificates."""

    index_url: str = PYPI
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    """Paths or URLs."""
    cert: Path | None = None

    @classmethod
    @functools.cache
    def of_this_machine(cls) -> Self:
        """The output of `pip config list`, environment variables included."""
        return cls.parse(_pip_config_list())

    @classmethod
    def parse(cls, listing: str) -> Self:
        """The settings in the output of `pip config list`: lines SECTION.KEY='VALUE'."""
        settings: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
        for line in listing.splitlines():
            name, _, value = line.partition("=")
            section, _, key = name.rpartition(".")
            if section in settings:
                settings[section][key] = ast.literal_eval(value)
        merged = {key: value for section in SECTIONS for key, value in settings[section].items()}
        cert = merged.get("cert")
        return cls(
            index_url=merged.get("index-url", PYPI),
            extra_index_urls=_words(merged, "extra-index-url"),
            find_links=_words(merged, "find-links"),
            constraints=_words(merged, "constraint"),
            cert=Path(cert) if cert else None,
        )


def _words(settings: Mapping[str, str], key: str) -> tuple[str, ...]:
    return tuple(settings.get(key, "").split())


def _pip_config_list() -> str:
    tried = []
    for command in _pips():
        tried.append(shlex.join(command))
        done = subprocess.run([*command, "config", "list"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
    raise SdfleetError(f"no pip found (tried {', '.join(tried)}); the lab needs one to learn this machine's indexes")


def _pips() -> Iterable[list[str]]:
    """Ways to call pip: an environment without pip uses the system's."""
    yield [sys.executable, "-m", "pip"]
    for name in ("pip", "pip3"):
        if found := shutil.which(name):
            yield [found]
