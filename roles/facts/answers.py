"""Which URLs answer, asked from the host itself: what the controller can reach says nothing about it."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyinfra.api.facts import FactBase


@dataclass(frozen=True)
class Answer:
    """What a GET of one URL came to, redirects followed."""

    status: int
    """HTTP status; 0 means no answer in time."""
    content_type: str = ""


class Answers(FactBase[dict[str, Answer]]):
    """URL -> Answer, all asked at once."""

    default = dict

    def requires_command(self, urls: Sequence[str], seconds: float, config: bool = False) -> str:
        """Without curl nothing is asked, and the fact is empty."""
        return "curl"

    def command(self, urls: Sequence[str], seconds: float, config: bool = False) -> str:
        """One parallel curl.

        + urls: what to ask
        + seconds: how long each may take in all
        + config: whether curl's configuration comes over standard input
        """
        shown = "%{urlnum}\\t%{http_code}\\t%{content_type}\\n"
        asked = " ".join(f"-o /dev/null {shlex.quote(url)}" for url in urls)
        # The header keeps a git server's answer short; other servers ignore it.
        read = " --config -" if config else ""
        curl = f"curl{read} -Z -s -L -m {seconds:g} -H 'Git-Protocol: version=2' -w '{shown}' {asked}"
        echoed = " ".join(map(shlex.quote, urls))
        return f"printf '%s\\n' {echoed}; {curl}; true"

    def process(self, output: Iterable[str]) -> dict[str, Answer]:
        """Read the URLs and then a line for each answer."""
        urls: list[str] = []
        found: dict[str, Answer] = {}
        for line in output:
            number, *rest = line.split("\t")
            if rest:
                found[urls[int(number)]] = Answer(int(rest[0]), rest[1])
            elif line:
                urls.append(line)
        return found
