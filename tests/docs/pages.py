"""The pages that people read, and what each names: links, commands, settings, configuration."""

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel

from deploy.cli import app
from inventory.model import ROLE_TABLES, FleetTable, GroupTable, HostTable
from inventory.secrets import SecretReference, Secrets
from lab.commands import app as lab
from roles.models.config import Model
from training.cli import app as trainer
from training.config import Config

TREE = Path(__file__).resolve().parents[2]
DOCS = TREE / "docs"
PAGES = sorted([*TREE.glob("*.md"), *DOCS.rglob("*.md")])
GUIDES = [page for page in PAGES if page.name not in ("CHANGELOG.md", "DESIGN.md")]
"""The pages that say how things are; the other two also tell what was."""

FENCED = re.compile(r"^( *)(?:> ?)?```(\w*)\n(.*?)^\1(?:> ?)?```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
PROGRAMS: dict[str, Any] = {
    "sdfleet": typer.main.get_command(app),
    "lora-train": typer.main.get_command(trainer),
}
LAB: Any = typer.main.get_command(lab)

FLEET: dict[str, type[BaseModel]] = {
    "fleet": FleetTable,
    "hosts": HostTable,
    "groups": GroupTable,
    "models": Model,
    "secrets": Secrets,
    **ROLE_TABLES,
}
TRAINING = {name: field.annotation for name, field in Config.model_fields.items()}
FILES = ("json", "jsonl", "toml", "lock", "refused", "md", "py", "sh", "html", "safetensors", "onnx")
"""Endings that tell a file's name from a setting's: run.json, log.jsonl, train.sh."""


def name_of(page: Path) -> str:
    """The page's path in the repository, as tests and errors call it."""
    return page.relative_to(TREE).as_posix()


@cache
def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return FENCED.sub("", page.read_text())


@cache
def blocks(page: Path, *languages: str) -> tuple[str, ...]:
    """The blocks of code of a page in these languages ("" for none)."""
    return tuple(text for _, language, text in FENCED.findall(page.read_text()) if language in languages)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as forges make them."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(page), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", LINK.sub(lambda link: link[0].partition("]")[0], heading).lower())
        anchor = plain.replace(" ", "-")
        found.append(f"{anchor}-{found.count(anchor)}" if anchor in found else anchor)
    return frozenset(found)


@cache
def links(page: Path) -> tuple[str, ...]:
    """Where the links of a page lead that stay in the repository."""
    return tuple(target for target in LINK.findall(prose(page)) if not re.match(r"[a-z]+:", target))


@dataclass(frozen=True)
class Typed:
    """A command as a page shows it."""

    line: str
    whole: bool
    """It stands in a block of commands, so it must parse; in a sentence only its words and options must exist."""

    def words(self) -> list[str]:
        return shlex.split(self.line, comments=True)

    def command(self) -> tuple[Any, list[str], str]:
        """The command of the program, the words after it, and its name; of a group without a verb, the group."""
        program, *rest = self.words()
        command, name = PROGRAMS[program], program
        while rest and rest[0] in getattr(command, "commands", {}):
            name, command = f"{name} {rest[0]}", command.commands[rest[0]]
            rest = rest[1:]
            if name == "sdfleet lab":  # a program of its own, which is imported only when it is asked for
                command = LAB
        if name == "sdfleet lock":  # alone it means `lock fleet`
            command = command.commands["fleet"]
        return command, rest, name

    def options(self) -> list[str]:
        _, rest, _ = self.command()
        before = rest[: rest.index("--")] if "--" in rest else rest
        return [word.partition("=")[0] for word in before if re.match(r"--?[a-z]", word)]


@cache
def commands(page: Path) -> tuple[Typed, ...]:
    """Every command of sdfleet and lora-train that a page shows, in blocks and in sentences."""
    found: list[Typed] = []
    for block in blocks(page, "sh", "", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r" (?:&&|\|\||;) ", line.strip().removeprefix("$ ")):
                found.extend(_typed(re.split(r" \| | > ", part)[0], True))
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"(?<=\S)\n(?=\S)", " ", prose(page))):
        found.extend(_typed(code.partition(" | ")[0], False))
    return tuple(found)


def _typed(text: str, whole: bool) -> Iterator[Typed]:
    if re.match(r"(sdfleet|lora-train)( |$)", text):
        # "..." stands for arguments that the page has named before.
        yield Typed(re.sub(r" \.\.\..*| 2>&1", "", text), whole and "..." not in text)


def all_commands(page: Path) -> frozenset[str]:
    """The commands that a page names, and their options: `train run --then`."""
    found = set()
    for typed in commands(page):
        name = typed.command()[2]
        found |= {name, *(f"{name} {option}" for option in typed.options())}
    return frozenset(found - set(PROGRAMS))


@cache
def settings(page: Path) -> frozenset[str]:
    """The settings that a page names: in a sentence with their table, or in a block of configuration."""
    code = re.findall(r"`([^`\n]+)`", re.sub(r"(?<=\S)\n(?=\S)", " ", prose(page)))
    named = {found[1] for text in code if (found := re.match(r"((?:[a-z_]+\.)(?:[\w-]+\.)*[\w-]+)(?: = .*)?$", text))}
    named = {name for name in named if name.split(".")[0] in {*FLEET, *TRAINING} and name.split(".")[-1] not in FILES}
    for block in blocks(page, "toml"):
        named |= set(_keys(tomllib.loads(block)))
    return frozenset(map(_general, named))


def _general(name: str) -> str:
    """Without names of hosts and groups: hosts.gpu-1.webui.port is webui.port, and hosts.gpu-1.user hosts.user."""
    table, _, below = name.partition(".")
    if table in ("hosts", "groups") and below:
        _, _, key = below.partition(".")
        return key if key.split(".")[0] in ROLE_TABLES else f"{table}.{key or below}"
    return name


def _keys(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in table.items():
        name = f"{above}{key}"
        rows = value if isinstance(value, list) else [value]
        if all(isinstance(row, dict) for row in rows) and rows and _is_table(name):
            for row in rows:
                yield from _keys(row, f"{name}.")
        else:
            yield name


def _is_table(name: str) -> bool:
    """Whether its keys are settings: not so for { env = "NAME" } and for dicts of any names."""
    if name in ("hosts", "groups") or re.fullmatch(r"(hosts|groups)\.[\w-]+", name):
        return True
    models = [model for kind in kinds(name) for model in models_in(kind)]
    return bool(models) and SecretReference not in models


def kinds(name: str) -> tuple[Any, ...]:
    """The types that a setting may have; none if there is no such setting. Raises nothing."""
    first, *rest = _general(name).split(".")
    found: tuple[Any, ...] = ()
    for tables in (FLEET, TRAINING):
        if first in tables:
            found += _below((tables[first],), rest)
    return found


def _below(types: tuple[Any, ...], keys: list[str]) -> tuple[Any, ...]:
    types = tuple(one for each in types for one in _flat(each))
    if not keys:
        return types
    if any(one is dict for one in types):
        return (object,)
    fields = [model.model_fields.get(keys[0]) for one in types for model in models_in(one)]
    return tuple(found for field in fields if field for found in _below((field.annotation,), keys[1:]))


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The tables of settings that a field may hold."""
    return [kind for kind in _flat(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _flat(annotation: Any) -> Iterator[Any]:
    """The plain types in a union, a list or an Annotated."""
    origin = getattr(annotation, "__origin__", None)
    if origin is not None and isinstance(origin, type) and issubclass(origin, dict):
        yield dict
    elif inside := get_args(annotation):
        for each in inside:
            yield from _flat(each)
    else:
        yield annotation
