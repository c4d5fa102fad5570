"""What the page shows now. Collectors write it, the web part reads it; neither knows the other."""

import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal

from deploy.dashboard.news import News
from deploy.documents import plain
from training.terminal import visible

Kind = Literal["fleet", "host", "run", "seen", "news"]
LONGEST = 2000
"""Characters of one text of a host's."""
MOST_NEWS = 80


@dataclass(frozen=True)
class Item:
    """One part of the page, as JSON."""

    kind: Kind
    key: str
    text: str
    version: int


class Board:
    """The newest state of each part, with the version at which it came; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: dict[tuple[Kind, str], Item] = {}
        self._version = 0
        self._seen: dict[str, float] = {}
        self._news: deque[News] = deque(maxlen=MOST_NEWS)
        self.viewers = 0
        """How many pages are open."""

    def put(self, kind: Kind, key: str, value: object) -> None:
        """Show `value`, a dataclass or what JSON has."""
        text = encoded(value)
        with self._lock:
            self._put(kind, key, text)

    def _put(self, kind: Kind, key: str, text: str) -> None:
        known = self._items.get((kind, key))
        if known is None or known.text != text:
            self._version += 1
            self._items[kind, key] = Item(kind, key, text, self._version)

    def keep(self, kind: Kind, prefix: str, values: Mapping[str, object]) -> None:
        """Show these, and of what begins with `prefix` nothing else. Pages see in the host which runs it still has."""
        texts = {key: encoded(value) for key, value in values.items()}
        with self._lock:
            for place in [(of, key) for of, key in self._items if of == kind and key.startswith(prefix)]:
                if place[1] not in texts:
                    del self._items[place]
            for key, text in texts.items():
                self._put(kind, key, text)

    def saw(self, host: str, at: float) -> None:
        """The host has answered."""
        with self._lock:
            self._seen[host] = at
            self._put("seen", "", encoded(self._seen))

    def tell(self, news: Iterable[News]) -> None:
        """Add to what has happened."""
        with self._lock:
            self._news.extend(news)
            self._put("news", "", encoded(sorted(self._news, key=lambda one: one.at, reverse=True)))

    def since(self, version: int) -> tuple[list[Item], int]:
        """What is newer than `version`, in the order in which it came, and the version now."""
        with self._lock:
            newer = sorted((item for item in self._items.values() if item.version > version), key=lambda i: i.version)
            return newer, self._version

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While somebody looks."""
        with self._lock:
            self.viewers += 1
        try:
            yield
        finally:
            with self._lock:
                self.viewers -= 1


def encoded(value: object) -> str:
    """JSON of one line. Nothing of a host's in it can act on who reads it, and no text is longer than `LONGEST`."""
    return json.dumps(_shown(plain(_data(value))), ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _data(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return [_data(each) for each in value] if isinstance(value, list | tuple) else value


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value[:LONGEST])
    if isinstance(value, dict):
        return {visible(str(name)[:LONGEST]): _shown(each) for name, each in value.items()}
    return [_shown(each) for each in value] if isinstance(value, list) else value
