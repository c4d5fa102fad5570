"""Other packages are taken as they are: nothing is changed in them, and nothing in how Python imports."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[1]
OURS = {"deploy", "inventory", "roles", "training", "lab"}
IMPORT_SYSTEM = {"sys.modules", "sys.meta_path", "sys.path_hooks", "sys.path_importer_cache"}
"""What decides what an import finds."""
LOADERS = {"lab/standin_comfyui/comfy/loading.py"}
"""Programs that load modules by their paths, of which Python wants to know (importlib's own recipe)."""
SETTINGS = ("torch.backends.", "torch.utils.deterministic.", "pyinfra.is_cli", "sys.excepthook")
"""Attributes of other packages that are there for their users to set."""


def meddling(source: str) -> list[str]:
    """Lines of a program that touch the import system or set attributes of what it imports from other packages."""
    tree = ast.parse(source)
    foreign = dict(_foreign(tree))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            touched = _dotted(node, foreign)
            if touched in IMPORT_SYSTEM:
                found.append((node.lineno, touched))
        elif isinstance(node, ast.Attribute):
            changed = _dotted(node, foreign)
            if changed and not changed.startswith(SETTINGS):
                found.append((node.lineno, changed))
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            found += [(node.lineno, name) for name in IMPORT_SYSTEM & {f"sys.{alias.name}" for alias in node.names}]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            changed = _dotted(node.args[0], foreign)
            if changed:
                found.append((node.lineno, changed))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "vars" and node.args:
            changed = _dotted(node.args[0], foreign)
            if changed:
                found.append((node.lineno, f"vars of {changed}"))
    return [f"{line}: {name}" for line, name in sorted(set(found))]


def _foreign(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Names that stand for modules, classes and functions of other packages, and what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.split(".")[0]
                yield alias.asname or name, name
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] not in OURS:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.AST, foreign: dict[str, str]) -> str | None:
    """What `a.b.c` stands for if `a` is of another package."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in foreign:
        return None
    return ".".join([foreign[node.id], *parts])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import sys\nsys.modules['scipy'] = None", ["2: sys.modules"]),
        ("import sys as s\ns.meta_path.insert(0, x)", ["2: sys.meta_path"]),
        ("from sys import modules", ["1: sys.modules"]),
        ("import torch.distributed\ntorch.distributed.is_available = no", ["2: torch.distributed.is_available"]),
        ("from peft import PeftModel as M\nM.to = mine", ["2: peft.PeftModel.to"]),
        ("import torch\nsetattr(torch, 'compile', None)", ["2: torch"]),
        ("import pyinfra.api.host as h\nvars(h)['Host'] = mine", ["2: vars of pyinfra.api.host"]),
        ("import torch\ntorch.backends.cudnn.benchmark = False", []),
        ("from training.config import Config\nConfig.x = 1", []),
        ("import torch\nmodel = torch.nn.Linear(1, 1)\nmodel.training = False\ntorch.manual_seed(1)", []),
    ],
)
def test_what_counts_as_meddling(source: str, said: list[str]) -> None:
    assert meddling(source) == said


@pytest.mark.parametrize("package", sorted(OURS))
def test_no_other_package_is_meddled_with(package: str) -> None:
    files = sorted((TREE / package).rglob("*.py"))
    assert len(files) > 10
    found = {str(file.relative_to(TREE)): meddling(file.read_text(encoding="utf-8")) for file in files}
    for file in LOADERS & found.keys():
        found[file] = [line for line in found[file] if not line.endswith(" sys.modules")]
    assert {file: lines for file, lines in found.items() if lines} == {}


def test_one_file_alone_uses_what_pyinfra_may_change_at_any_time() -> None:
    insides = re.compile(
        r"pyinfra\.api\.(operations|inventory|config)\b|\b(StateStage|HostData|BaseStateCallback|ctx_\w+)\b"
    )
    files = [file for package in OURS for file in (TREE / package).rglob("*.py")]
    using = [str(file.relative_to(TREE)) for file in files if insides.search(file.read_text())]
    assert using == ["deploy/engine/pyinfra_session.py"]
