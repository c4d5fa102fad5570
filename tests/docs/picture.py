"""A picture of a terminal: COLUMNS=80 python -m tests.docs.picture docs/NAME.svg COMMAND...

It runs the command and draws what it prints, in its colours, as an SVG that asks no other server for anything. Without
COLUMNS the terminal has 100.
"""

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 100


def draw(command: list[str], width: int = WIDTH) -> str:
    """The SVG of what a command prints on a terminal of this width, below the command itself."""
    colours = {"FORCE_COLOR": "1", "COLUMNS": str(width), "TERM": "xterm-256color"}
    printed = subprocess.run(command, env=os.environ | colours, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    console = Console(record=True, width=width, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    console.print(Text.assemble(("$ ", "dim"), shlex.join(command)))
    spinner = r"[^\n]*[\u2800-\u28ff][^\n]*\n"  # a terminal would have erased it
    console.print(Text.from_ansi(re.sub(spinner, "", printed.decode())))
    svg = console.export_svg(title="", unique_id="terminal")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(sys.argv[2:], int(os.environ.get("COLUMNS", WIDTH))))
