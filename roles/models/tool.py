"""sdfleet-fetch as one file: the package `host` and what it uses of roles.onhost and the pickle scanner."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from roles.programs import closure, packed_files, zipped

HOST = Path(__file__).resolve().parent / "host"
SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = "import sys\nfrom sdfleet_fetch.main import main\nsys.exit(main())\n"
USED = ("roles.onhost.nofollow_changes", "roles.onhost.confined", "roles.onhost.lock_file")
SCANNER = ("__init__.py", "relaxed_zipfile.py", "scanner.py", "torch.py")
"""The scanning modules of picklescan; they need only the standard library."""


@cache
def program() -> bytes:
    """The executable that is installed as Paths.tools/sdfleet-fetch."""
    files_in = {"__main__.py": MAIN, **packed_files(closure(*USED))}
    files_in |= {f"sdfleet_fetch/{file.name}": file.read_text(encoding="utf-8") for file in HOST.glob("*.py")}
    files_in |= {f"picklescan/{name}": (files("picklescan") / name).read_text(encoding="utf-8") for name in SCANNER}
    return zipped(files_in, SHEBANG)
