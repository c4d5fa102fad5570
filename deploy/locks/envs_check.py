"""`sdfleet lock envs --verify`: check environment locks again, through other mirrors than before."""

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from deploy.locks import indexes
from deploy.locks.check import Say
from deploy.locks.consensus import NOT_CONFIRMED, Witnesses, in_order
from inventory.errors import DRIFT, SdfleetError
from roles.mirrors.config import Mirrors
from roles.operations.locks import build_of_pytorchs_own

VERIFY = "sdfleet lock envs --verify"


def verified(folders: Iterable[Path], mirrors: Mirrors, say: Say) -> int:
    """Ask again for the files of every lock in these folders, through other mirrors than before where there are some.

    The exit code: 3 if an answer differs, 1 if something could not be confirmed, 0 if nothing changed.
    """
    witnesses = Witnesses()
    results = [_verified(path, mirrors, say, witnesses) for folder in folders for path in sorted(folder.glob("*.txt"))]
    if not results:
        raise SdfleetError("there is no lock to verify")
    return DRIFT if DRIFT in results else max(results)


def _verified(path: Path, mirrors: Mirrors, say: Say, witnesses: Witnesses) -> int:
    text, python = path.read_text(), re.search(r"py(\d+\.\d+)-", path.name)
    if not python:
        say(f"{path.name}: not verified: its name has no Python version (such as py3.11-)")
        return 1
    lines = text.splitlines()
    asked = {
        endpoint
        for line in lines
        if line.startswith(indexes.ASKED)
        for endpoint in line.removeprefix(indexes.ASKED).split()
    }
    status = 0
    try:
        endpoints = indexes.endpoints_of(build_of_pytorchs_own(text), mirrors)
        question = indexes.Question("", python[1], build_of_pytorchs_own(text), {})
        for kind, place in endpoints.items():

            def ask(endpoint: str, kind: str = kind) -> str:
                places = {other: in_order(ends) for other, ends in endpoints.items()} | {kind: [endpoint]}
                differing = partial(indexes.differences, text, question)
                return indexes.first_answer(places, witnesses, differing)[0]

            said, by = witnesses.ask(place.without(place.doubtful(asked)), ask)
            who = ", ".join(by)
            if said:
                status = DRIFT
                why = "they were replaced since, or one of the servers is wrong"
                say(f"{path.name}: {who} has other files of {said}; {why}")
            elif not place.confirmed(by, asked):
                status = status or 1
                say(f"{path.name}: {who} {NOT_CONFIRMED}")
            else:
                say(f"{path.name}: {who} says the same")
    except SdfleetError as error:
        say(f"{path.name}: could not be looked up again: {error}")
        return status or 1
    return status
