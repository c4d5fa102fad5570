"""What package indexes say: hashed locks that uv resolves without running a package's code."""

import json
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uv

from deploy.consensus import DisagreementError, Endpoints, Witnesses, in_order
from inventory.errors import SdfleetError
from roles.mirrors.config import Mirrors
from roles.onhost.build_wheels import ENTRY, HASH, entries, normal

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
ASKED = "# Asked: "
"""Begins the line of a lock that names the indexes whose word it is."""
Pins = Mapping[tuple[str, str], frozenset[str]]
"""Name and version of each entry of a lock -> its hashes."""


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


def endpoints_of(build: str, mirrors: Mirrors) -> dict[str, Endpoints]:
    """The endpoints of each index that a lock needs. SdfleetError if there is none."""
    if build and not mirrors.torch:
        raise SdfleetError("mirrors.torch is empty, and the package index does not have this build")
    kinds = ("pypi", "torch") if build else ("pypi",)
    return {kind: Endpoints(kind, getattr(mirrors, kind), getattr(Mirrors(), kind)) for kind in kinds}


def resolve(
    question: Question, endpoints: Mapping[str, Endpoints], before: str
) -> tuple[str, dict[str, tuple[str, ...]]]:
    """The entries of a lock with their hashes, and who says so, by index: the origin, or two mirrors that agree.

    + before: a lock of which as much stays as fits
    Raises SdfleetError with uv's last words if there is no answer, DisagreementError.
    """
    ordered = {kind: in_order(place) for kind, place in endpoints.items()}
    reasons: list[str] = []
    wheels_alone = ["--only-binary=:all:", *(f"--no-binary={name}" for name in question.sources)]
    for number in range(max(map(len, ordered.values()))):
        over = {kind: ends[min(number, len(ends) - 1)] for kind, ends in ordered.items()}
        try:
            body = _compile(question, over, before, wheels_alone)
        except SdfleetError as error:
            reasons.append(f"{' with '.join(over.values())}: {error}")
            continue
        return body, _witnesses(body, question, endpoints, over)
    raise SdfleetError(f"{'; '.join(reasons)} ({NOTHING_IS_BUILT})")


def _witnesses(
    body: str, question: Question, endpoints: Mapping[str, Endpoints], over: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    found = {}
    for kind, place in endpoints.items():

        def ask(endpoint: str, kind: str = kind) -> str:
            return "" if endpoint == over[kind] else differences(body, question, {**over, kind: endpoint})

        said, found[kind] = Witnesses().ask(place, ask)
        if said:
            raise DisagreementError(f"{', '.join(found[kind])} says something else than {over[kind]} of {said}")
    return found


def differences(body: str, question: Question, over: Mapping[str, str]) -> str:
    """Packages of a lock of which indexes do not have every file, as they say now; empty if they have all.

    + over: the endpoint of each index
    Raises SdfleetError if they do not know all of its versions.
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
    """The entries that uv answers with. SdfleetError with its last words."""
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
        done = subprocess.run([*command, *words], cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise SdfleetError(" ".join(said[-3:]) or f"uv ended with status {done.returncode}")
        return "".join(line for line in answer.read_text().splitlines(keepends=True) if not line.startswith("#"))


def _metadata(name: str, needs: Collection[str]) -> str:
    """An entry of uv's configuration: what a package requires, so that its source need not be asked (JSON is TOML)."""
    return f"[[dependency-metadata]]\nname = {json.dumps(name)}\nrequires-dist = {json.dumps(list(needs))}\n"
