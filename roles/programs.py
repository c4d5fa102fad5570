"""The programs of roles/onhost as archives: all of them in one that is installed, or one program that is sent."""

import ast
import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path, PurePosixPath

TREE = Path(__file__).resolve().parents[1]
ONHOST = "roles.onhost"
OURS = (ONHOST, "deploy.onhost")
"""Packages whose modules run on hosts."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date a zip file can hold. Date and lack of compression give the same bytes on every machine."""
RECEIVE = (
    "import base64, os, runpy, sys; "
    "memory = hasattr(os, 'memfd_create'); "
    "archive = os.memfd_create('sdfleet') if memory else os.open('/tmp', os.O_TMPFILE | os.O_RDWR); "
    "os.write(archive, base64.b64decode(sys.stdin.buffer.read())); "
    "os.fchmod(archive, 0o444); "
    "first, archive = archive, os.open(f'/proc/self/fd/{archive}', os.O_RDONLY); "
    "os.close(first); "
    "runpy.run_path(f'/proc/self/fd/{archive}', run_name='__main__')"
)
"""Runs an archive that comes over standard input, in base64. It is kept in memory alone, or in a file without a
name where Python was built against a C library without memfd_create (before glibc 2.27), as uv's may be. Opened anew
for reading only: children that read strange files as nobody inherit it, and could else change what root runs next."""


@cache
def installed() -> bytes:
    """The archive that is installed on every host."""
    return zipped({"__main__.py": _text(f"{ONHOST}.__main__"), **packed_files(closure(*_programs()))})


@cache
def sha256() -> str:
    """Its sha256."""
    return hashlib.sha256(installed()).hexdigest()


def version() -> str:
    """The name of its file."""
    return f"onhost-{sha256()[:16]}.pyz"


def command(archive: PurePosixPath, program: str, *words: object) -> list[str]:
    """The command that runs an installed program.

    + archive: `Paths.onhost`
    """
    return ["python3", "-I", str(archive), program, *map(str, words)]


def receiver(*words: object, python: object = "python3") -> list[str]:
    """The command that runs what `sent` or `called` made, with these arguments."""
    return [str(python), "-I", "-c", RECEIVE, *map(str, words)]


def sent(program: str) -> str:
    """Standard input of `receiver`: a program of roles.onhost with all that it imports."""
    name = f"{ONHOST}.{program}"
    return _packed(f"from {ONHOST} import {program}\n\n{program}.main()\n", name)


def called(module: str, values: str) -> str:
    """Standard input of `receiver`: a module of which `main` is called, and what it returns is printed as JSON.

    + values: its arguments, a JSON object; in here they show in no list of processes
    """
    call = f"print(json.dumps(main(**json.loads({values!r}))))"
    return _packed(f"import json\n\nfrom {module} import main\n\n{call}\n", module)


def digest(*programs: str) -> str:
    """Tells programs of roles.onhost, with all that they import, from every other version of them."""
    files = packed_files(closure(*(f"{ONHOST}.{name}" for name in programs)))
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]


def closure(*modules: str) -> list[str]:
    """The modules of ours that these import, themselves included, by their dotted names."""
    found: set[str] = set()
    left = list(modules)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _imported(name)
    return sorted(found)


_PARSING = threading.Lock()
"""Hosts are reached by threads, and Python before 3.11.8 and 3.12.2 fails if two of them parse at the same time."""


@cache
def _imported(module: str) -> tuple[str, ...]:
    found = []
    with _PARSING:
        tree = ast.parse(_text(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in OURS:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(tuple(f"{o}." for o in OURS)):
            found.append(node.module)
    return tuple(found)


def _programs() -> list[str]:
    return sorted(f"{ONHOST}.{file.stem}" for file in (TREE / "roles/onhost").glob("[!_]*.py"))


def _packed(main: str, *modules: str) -> str:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, {"__main__.py": main, **packed_files(closure(*modules))})
    return base64.b64encode(packed.getvalue()).decode()


def packed_files(modules: Iterable[str]) -> dict[str, str]:
    """Place in an archive -> text, of modules and of the packages that they lie in."""
    files = {}
    for name in modules:
        package = name.rpartition(".")[0]
        files[f"{name.replace('.', '/')}.py"] = _text(name)
        files[f"{package.replace('.', '/')}/__init__.py"] = ""
        files[f"{package.partition('.')[0]}/__init__.py"] = ""
    return files


@cache
def _text(module: str) -> str:
    return TREE.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")


def zipped(files: Mapping[str, str], before: bytes = b"") -> bytes:
    """An archive that Python runs: the same bytes for the same files, wherever it is made.

    + files: place in it -> text
    + before: what stands before it, as a shebang
    """
    packed = io.BytesIO(before)
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_STORED) as archive:
        _add(archive, files)
    return packed.getvalue()


def _add(archive: zipfile.ZipFile, files: Mapping[str, str]) -> None:
    for place, text in sorted(files.items()):
        entry = zipfile.ZipInfo(place, EPOCH)
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, text, archive.compression)
