"""The sentences that the doctor can say, as the code has them: what another language must have too."""

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from deploy.doctor.failures import FAILURES

TREE = Path(__file__).resolve().parents[3]
PLACES = ("deploy/doctor/*.py", "deploy/connection/*.py", "roles/gpu/*.py", "roles/data_root.py")
FINDINGS = {"good": 1, "warning": 1, "bad": 1, "Refusal": 0}
"""What makes a finding, or an error of a host, and its first argument that is a sentence."""
LEVELS = ("good", "warning", "bad")

Assigned = Mapping[str, list[ast.expr]]


def templates() -> set[str]:
    """All of them: templates, sentences without values, levels, and the failures with their cures and sources."""
    files = sorted(chain.from_iterable(TREE.glob(place) for place in PLACES))
    found = {text for file in files for text in _in_file(ast.parse(file.read_text()), file.name)}
    failures = {text for failure in FAILURES for text in (failure.name, failure.cure)}
    return found | failures | {failure.seen for failure in FAILURES if " " in failure.seen} | {*LEVELS}


def _in_file(tree: ast.Module, name: str) -> Iterator[str]:
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        assigned: dict[str, list[ast.expr]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                assigned.setdefault(node.targets[0].id, []).append(node.value)
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.IfExp):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else "bad"  # (warning if works else bad)(...)
            given = node.args[:1] if called == "say" else node.args[FINDINGS[called] :] if called in FINDINGS else []
            for argument in given:
                yield from _texts(argument, assigned, f"{name}:{node.lineno}")


def _texts(node: ast.expr, assigned: Assigned, where: str) -> Iterator[str]:
    """The texts that an argument may be; those of a call are found at the call."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from chain(_texts(one, assigned, where), _texts(other, assigned, where))
        case ast.Name(id=name):
            for value in assigned.get(name, ()):
                yield from _texts(value, {}, where)
        case ast.JoinedStr(values=parts) if any(_has_words(part) for part in parts):
            raise AssertionError(f"{where}: no language can have this sentence; make it with say()")


def _has_words(part: ast.expr) -> bool:
    """Units such as GB are the same in all languages."""
    return isinstance(part, ast.Constant) and re.search("[a-z]{2}", str(part.value)) is not None
