"""The pictures of a terminal show what a command printed, and ask no other server for anything."""

import re
from html import unescape

from tests.docs.pages import DOCS
from tests.docs.picture import draw


def test_a_picture_has_the_command_its_output_and_its_colours() -> None:
    svg = draw(["printf", r"\033[1;31mbad\033[0m news\n"])
    words = re.sub(r"\s+", " ", unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", svg, flags=re.DOTALL)))
    assert "$ printf" in words and "bad news" in words.replace("\xa0", " ")
    assert re.search(r"\.terminal-r\d+ \{ fill: #[0-9a-f]{6};font-weight: bold \}", svg)


def test_no_picture_loads_anything() -> None:
    for picture in DOCS.rglob("*.svg"):
        assert not re.search(r"(?:href|src|url)\W{1,3}https?:", picture.read_text()), picture
