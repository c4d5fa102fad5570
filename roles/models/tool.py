"""sdfleet-fetch as one file: the package `host` and what it uses of roles.onhost and the pickle scanner, zipped
reproducibly, so that its hash is its version."""

import io
import zipfile
from functools import cache
from importlib.resources import files
from pathlib import Path

from roles.onhost import text_of

HOST = Path(__file__).resolve().parent / "host"
SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = "import sys\nfrom sdfleet_fetch.main import main\nsys.exit(main())\n"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip file can hold. A fixed date and no compression give the same bytes on every machine."""
SCANNER = ("__init__.py", "relaxed_zipfile.py", "scanner.py", "torch.py")
"""The scanning modules of picklescan; they need only the standard library."""


@cache
def program() -> bytes:
    """The executable that is installed as Paths.tools/sdfleet-fetch."""
    packed = io.BytesIO(SHEBANG)
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_STORED) as archive:
        _add(archive, "__main__.py", MAIN)
        for file in sorted(HOST.glob("*.py")):
            _add(archive, f"sdfleet_fetch/{file.name}", file.read_text(encoding="utf-8"))
        for package in ("roles", "roles/onhost"):
            _add(archive, f"{package}/__init__.py", "")
        for name in ("nofollow", "confined"):
            _add(archive, f"roles/onhost/{name}.py", text_of(name))
        for name in SCANNER:
            _add(archive, f"picklescan/{name}", (files("picklescan") / name).read_text(encoding="utf-8"))
    return packed.getvalue()


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, text)
