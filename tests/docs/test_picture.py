"""The pictures of a terminal show what a command printed, and ask no other server for anything."""

import re
from html import unescape

from tests.docs.pages import DOCS, PROGRAMS
from tests.docs.picture import draw


def _words(svg: str) -> str:
    """What the terminal in a picture shows, on one line."""
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", svg, flags=re.DOTALL)).split())


def test_a_picture_has_the_command_its_output_and_its_colours() -> None:
    svg = draw(["printf", r"\033[1;31mbad\033[0m news\n"])
    assert "$ printf" in _words(svg) and "bad news" in _words(svg)
    assert re.search(r"\.terminal-r\d+ \{ fill: #[0-9a-f]{6};font-weight: bold \}", svg)


def test_the_picture_of_the_help_shows_every_command_with_its_sentence() -> None:
    """COLUMNS=80 python -m tests.docs.picture docs/help.svg sdfleet --help"""
    shown = _words((DOCS / "help.svg").read_text())
    for name, command in PROGRAMS["sdfleet"].commands.items():
        if not command.hidden:
            assert f"{name} {command.get_short_help_str(limit=100)}" in shown


def test_no_picture_loads_anything() -> None:
    for picture in DOCS.rglob("*.svg"):
        assert not re.search(r"(?:href|src|url)\W{1,3}https?:", picture.read_text()), picture
