"""The import graph of our own modules, read from their sources."""

import ast
import functools
import sys
from collections.abc import Collection, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TREE = Path(__file__).resolve().parent.parent
OURS = ("deploy", "inventory", "roles", "templates", "training", "lab")


def reached(entries: Collection[str], stop_at: Collection[str] = ()) -> tuple[set[str], dict[str, set[str]]]:
    """What `entries` (our modules) import in the end, at once or inside functions, without going into `stop_at`.

    Returns our modules, and the other packages by import name with the modules that import them; Python's own and what
    is imported for type checkers alone is left out.
    """
    ours: set[str] = set()
    others: dict[str, set[str]] = {}
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if name in ours or name in stop_at or file is None:
            continue
        ours.add(name)
        waiting.append(name.rpartition(".")[0])
        for imported in _imported_by(file):
            package = imported.partition(".")[0]
            if package in OURS:
                waiting.append(imported)
            elif package not in sys.stdlib_module_names:
                others.setdefault(package, set()).add(name)
    return ours, others


def _file(module: str) -> Path | None:
    """The source of one of our modules; None for a name inside one."""
    path = TREE.joinpath(*module.split("."))
    found = [file for file in (path / "__init__.py", path.with_suffix(".py")) if module and file.is_file()]
    return found[0] if found else None


@functools.cache
def _imported_by(file: Path) -> tuple[str, ...]:
    """What a source names in its imports; read once for all walks."""
    return tuple(_imports(ast.parse(file.read_text())))


def _imports(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from _imports(child)


def brought(requirements: Collection[str]) -> set[str]:
    """Normal names of the installed distributions that `requirements` bring, their own requirements included."""
    found: set[tuple[str, str]] = set()
    waiting = [(text, "") for text in requirements]
    while waiting:
        text, extra = waiting.pop()
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in found:
                found.add((name, wanted))
                waiting += [(needed, wanted) for needed in _requires(name)]
    return {name for name, _ in found}


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # for another system or Python
        return []
