"""Which URLs answer, requested from the host itself: the controller's network says nothing about the host's."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyinfra.api.facts import FactBase


@dataclass(frozen=True)
class Answer:
    """The result of a GET, after redirects."""

    status: int
    """HTTP status; 0 means no answer in time."""
    content_type: str = ""


class Answers(FactBase[dict[str, Answer]]):
    """URL -> Answer, requested in parallel."""

    default = dict

    def requires_command(self, urls: Sequence[str], seconds: float, config: bool = False) -> str:
        """Without curl the fact is empty."""
        return "curl"

    def command(self, urls: Sequence[str], seconds: float, config: bool = False) -> str:
        """One parallel curl.

        + urls: what to request
        + seconds: time limit of each request
        + config: whether curl's configuration is on standard input
        """
        shown = "%{urlnum}\\t%{http_code}\\t%{content_type}\\n"
        asked = " ".join(f"-o /dev/null {shlex.quote(url)}" for url in urls)
        # The header keeps a git server's answer short; other servers ignore it.
        read = " --config -" if config else ""
        curl = f"curl{read} -Z -s -L -m {seconds:g} -H 'Git-Protocol: version=2' -w '{shown}' {asked}"
        echoed = " ".join(map(shlex.quote, urls))
        return f"printf '%s\\n' {echoed}; {curl}; true"

    def process(self, output: Iterable[str]) -> dict[str, Answer]:
        urls: list[str] = []
        found: dict[str, Answer] = {}
        for line in output:
            number, *rest = line.split("\t")
            if rest:
                found[urls[int(number)]] = Answer(int(rest[0]), rest[1])
            elif line:
                urls.append(line)
        return found
