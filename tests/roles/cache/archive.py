"""The distribution's archive with a count of what is asked of it."""

import contextlib
from collections.abc import Iterator

import requests

from lab import Lab
from tests.roles.models import origin
from tests.roles.models.origin import Origin


class _Archive(dict[str, bytes]):
    """Path -> file, from the lab's own copy of the archive."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def get(self, path: str, default: object = None) -> bytes | None:  # type: ignore[override]
        """The file; None if the archive has none of that name."""
        answer = requests.get(self.url + path, timeout=120)
        return answer.content if answer.ok else None


@contextlib.contextmanager
def running(lab: Lab) -> Iterator[Origin]:
    """The archive as a mirror (debian/ and debian-security/ below one root) in the lab's network."""
    with origin.running(lab.gateway, lab.pid) as mirror:
        mirror.files = _Archive(lab.index_url.removesuffix("/simple"))
        yield mirror
