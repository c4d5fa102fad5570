"""The sentences that the doctor can say, as the code has them: what another language must have too."""

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from deploy.doctor.failures import FAILURES

TREE = Path(__file__).resolve().parents[3]
PLACES = (
    "deploy/doctor/*.py",
    "deploy/connection/*.py",
    "deploy/torch.py",
    "roles/gpu/*.py",
    "roles/data_root.py",
    "roles/said.py",
)
REST = slice(1, None)
SENTENCES = {
    "say": slice(1),
    "listed": slice(1, 2),
    "good": REST,
    "warning": REST,
    "bad": REST,
    "Refusal": slice(None),
    "Decision": slice(1, 3),
    "refuse": slice(None),
    "settled": slice(1, 2),
}
"""What makes a sentence, a finding, an error of a host or a decision, and those of its arguments that are sentences."""
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
            if isinstance(node, ast.Call) and (called := _called(node.func)) in SENTENCES:
                named = [
                    each.value for each in node.keywords if each.arg in ("reason", "cure", "notes") and called != "say"
                ]
                for argument in (*node.args[SENTENCES[called]], *named):
                    yield from _texts(argument, assigned, f"{name}:{node.lineno}")


def _called(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.IfExp():  # (warning if works else bad)(...)
            return "bad"
        case _:
            return ""


def _texts(node: ast.expr, assigned: Assigned, where: str) -> Iterator[str]:
    """The texts that an argument may be; those of a call that makes sentences are found at that call."""
    match node:
        case ast.Constant(value=str(text)) if text:
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from chain(_texts(one, assigned, where), _texts(other, assigned, where))
        case ast.Name(id=name):
            for value in assigned.get(name, ()):
                yield from _texts(value, {}, where)
        case ast.JoinedStr(values=parts) if any(_has_words(part) for part in parts):
            raise AssertionError(f"{where}: no language can have this sentence; make it with say()")
        case ast.Call(func=function) if _called(function) not in SENTENCES:  # such as ", ".join(...)
            for inner in chain.from_iterable(ast.walk(each) for each in node.args):
                if isinstance(inner, ast.Name | ast.JoinedStr):
                    yield from _texts(inner, assigned, where)


def _has_words(part: ast.expr) -> bool:
    """Units such as GB are the same in all languages."""
    return isinstance(part, ast.Constant) and re.search("[a-z]{2}", str(part.value)) is not None
