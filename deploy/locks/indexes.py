"""Hashed locks, which uv resolves from package indexes without running a package's code."""

import itertools
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import uv

from deploy.locks.consensus import DisagreementError, Endpoints, Witnesses, in_order
from inventory.errors import SdfleetError
from roles.mirrors.config import Mirrors
from roles.models.sources.web import UnreachableError
from roles.onhost.build_wheels import ENTRY, HASH, entries, normal

T = TypeVar("T")
PLATFORM = "x86_64-manylinux_2_28"
SOURCES: Mapping[str, Sequence[str]] = {
    "antlr4-python3-runtime": (),
    "dadaptation": (),
    "jsonmerge": ("jsonschema>2.4.0",),
    "lycoris-lora": ("einops", "toml", "torch", "tqdm"),
    "schedulefree": ("torch", "typing-extensions"),
}
"""Packages of the shipped locks that have no wheel, and what they require: asking their sources would run them."""
NOTHING_IS_BUILT = (
    "nothing is built here, since that would run a package's code as you: name what has no wheel with "
    "--source 'NAME: what it requires', and hosts build it confined"
)
NO_WHEEL = re.compile(r"no (usable )?wheels|[Ww]heels are required|building from source|[Ff]ailed to build")
"""uv's messages for a package that would have to be built."""
NO_CONNECTION = re.compile(
    r"client error \(Connect\)|dns error|timed out|[Cc]onnection (refused|reset|closed)|[Cc]ould not connect"
)
"""uv's messages for an index that cannot be reached."""
ASKED = "# Asked: "
"""Start of the line in a lock that names the indexes it comes from."""
Pins = Mapping[tuple[str, str], frozenset[str]]
"""Name and version of each entry of a lock -> its hashes."""


class SilentIndexError(UnreachableError):
    """An index does not answer."""

    def __init__(self, said: str, endpoints: Collection[str]) -> None:
        super().__init__(said)
        self.endpoints = endpoints
        """Those that did not answer; empty if uv does not say which."""


@dataclass(frozen=True)
class Question:
    """What is asked of the indexes."""

    requirements: str
    """Text of a requirements file."""
    python: str
    build: str
    """The torch build, if PyTorch's own index is needed for it; else empty."""
    sources: Mapping[str, Sequence[str]]
    """Packages without a wheel, and what each requires."""
    overrides: Sequence[str] = ()
    """Versions that hold although another package asks for others."""


def endpoints_of(build: str, mirrors: Mirrors) -> dict[str, Endpoints]:
    """The endpoints of each index that a lock needs. SdfleetError if there is none."""
    if build and not mirrors.torch:
        raise SdfleetError("mirrors.torch is empty, and the package index does not have this build")
    kinds = ("pypi", "torch") if build else ("pypi",)
    return {kind: Endpoints(kind, getattr(mirrors, kind), getattr(Mirrors(), kind)) for kind in kinds}


def resolve(
    question: Question, endpoints: Mapping[str, Endpoints], before: str, witnesses: Witnesses
) -> tuple[str, dict[str, tuple[str, ...]]]:
    """The entries of a lock with their hashes, and who says so, by index: the origin, or two mirrors that agree.

    + before: a lock of which as much stays as fits
    Raises SdfleetError with uv's last words if there is no answer, DisagreementError.
    """
    ordered = {kind: in_order(place) for kind, place in endpoints.items()}
    wheels_alone = ["--only-binary=:all:", *(f"--no-binary={name}" for name in question.sources)]
    try:
        body, over = first_answer(ordered, witnesses, lambda over: _compile(question, over, before, wheels_alone))
    except SdfleetError as error:
        raise SdfleetError(f"{error} ({NOTHING_IS_BUILT})" if NO_WHEEL.search(str(error)) else str(error)) from error
    return body, _witnesses(body, question, endpoints, over, witnesses)


def first_answer(
    places: Mapping[str, Sequence[str]], witnesses: Witnesses, ask: Callable[[Mapping[str, str]], T]
) -> tuple[T, Mapping[str, str]]:
    """The first answer that one endpoint of each index gives, and which ones gave it.

    Endpoints that did not answer before are asked last, and none that does not answer now is asked twice.

    + places: the endpoints of each index, the preferred first
    Raises SdfleetError with each reason.
    """
    choices = sorted(
        itertools.product(*(enumerate(ends) for ends in places.values())),
        key=lambda choice: (any(end in witnesses.silent for _, end in choice), sum(place for place, _ in choice)),
    )
    reasons: dict[str, list[str]] = {}
    silent: set[str] = set()
    for choice in choices:
        over = dict(zip(places, (end for _, end in choice), strict=True))
        if silent & set(over.values()):
            continue
        try:
            answer = ask(over)
        except (SilentIndexError, SdfleetError) as error:
            if isinstance(error, SilentIndexError):
                silent.update(error.endpoints)
                witnesses.silent.update(error.endpoints)
            reasons.setdefault(str(error), []).append(" with ".join(over.values()))
            continue
        witnesses.silent.difference_update(over.values())
        return answer, over
    raise SdfleetError("; ".join(f"{', '.join(asked)}: {reason}" for reason, asked in reasons.items()))


def _witnesses(
    body: str,
    question: Question,
    endpoints: Mapping[str, Endpoints],
    over: Mapping[str, str],
    witnesses: Witnesses,
) -> dict[str, tuple[str, ...]]:
    found = {}
    for kind, place in endpoints.items():

        def ask(endpoint: str, kind: str = kind) -> str:
            if endpoint == over[kind]:
                return ""
            places = {other: (end,) for other, end in over.items()} | {kind: (endpoint,)}
            return first_answer(places, witnesses, lambda over: differences(body, question, over))[0]

        said, found[kind] = witnesses.ask(place, ask)
        if said:
            cure = "" if set(found[kind]) & set(place.origins) else "ask the origin, or "
            raise DisagreementError(
                f"{over[kind]} and {', '.join(found[kind])} have different files of {said}; "
                f"{cure}remove the wrong one from [mirrors]"
            )
    return found


def differences(body: str, question: Question, over: Mapping[str, str]) -> str:
    """Packages of a lock of which indexes do not have every file, as they say now; empty if they have all.

    + over: the endpoint of each index
    Raises SdfleetError if they do not know all of its versions, SilentIndexError if one does not answer.
    """
    pins = pins_of(body)
    names = {name: () for name, _ in pins}
    pinned = "".join(f"{name}=={version}\n" for name, version in pins)
    # With all that they require told beforehand, uv asks for hashes alone.
    alone = Question(pinned, question.python, question.build, names)
    said = pins_of(_compile(alone, over, "", ["--no-deps", "--refresh"]))
    return ", ".join(
        sorted(name for (name, version), known in pins.items() if not known <= said.get((name, version), set()))
    )


def pins_of(lock: str) -> Pins:
    """What a lock pins."""
    return dict(_pins(lock))


def _pins(lock: str) -> Iterator[tuple[tuple[str, str], frozenset[str]]]:
    for line in entries(lock):
        if entry := ENTRY.match(line):
            yield (normal(entry["name"]), entry["version"]), frozenset(HASH.findall(line))


def _compile(question: Question, over: Mapping[str, str], before: str, more: Sequence[str]) -> str:
    """The entries that uv answers with. SdfleetError with its last words, SilentIndexError if an index is silent."""
    command = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--generate-hashes", "--no-header"]
    command += [f"--python-version={question.python}", f"--python-platform={PLATFORM}", *more]
    command += [f"--default-index={over['pypi']}"]
    if question.build:
        command += [f"--index={over['torch']}/{question.build}", "--index-strategy=unsafe-best-match"]
    with tempfile.TemporaryDirectory(prefix="sdfleet-envs-") as scratch:
        asked, known, answer = (Path(scratch) / name for name in ("requirements.in", "uv.toml", "lock.txt"))
        asked.write_text(question.requirements)
        known.write_text("".join(_metadata(name, needs) for name, needs in question.sources.items()))
        answer.write_text(before)
        words = [f"--config-file={known.name}", f"--output-file={answer.name}", asked.name]
        if question.overrides:
            (Path(scratch) / "overrides.txt").write_text("\n".join(question.overrides))
            words.append("--override=overrides.txt")
        done = subprocess.run([*command, *words], cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            last = " ".join(said[-3:]) or f"uv ended with status {done.returncode}"
            if NO_CONNECTION.search(done.stderr):
                raise SilentIndexError(last, _silent(done.stderr, over))
            raise SdfleetError(last)
        return "".join(line for line in answer.read_text().splitlines(keepends=True) if not line.startswith("#"))


def _silent(said: str, over: Mapping[str, str]) -> Collection[str]:
    """The endpoints that uv could not reach. It names the file's URL, which may be on another server."""
    ends = set(over.values())
    return ends if len(ends) == 1 else [end for end in ends if f"{end.rstrip('/')}/" in said]


def _metadata(name: str, needs: Collection[str]) -> str:
    """An entry of uv's configuration: what a package requires, so that its source need not be asked (JSON is TOML)."""
    return f"[[dependency-metadata]]\nname = {json.dumps(name)}\nrequires-dist = {json.dumps(list(needs))}\n"
