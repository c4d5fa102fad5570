"""Graphs that wait, the one in work, those that are done, and requests to free memory."""

import heapq
import threading
from collections.abc import Callable
from typing import Any

Item = tuple[float, str, dict[str, Any], dict[str, Any], list[str]]
"""Number, id, graph, what the client sent beside it, and the output nodes: as /queue shows it."""


class Queue:
    """Thread-safe; `changed` is called whenever its length changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._condition = threading.Condition()
        self._waiting: list[Item] = []
        self._running: list[Item] = []
        self._history: dict[str, dict[str, Any]] = {}
        self._flags: dict[str, bool] = {}

    def put(self, item: Item) -> None:
        """Add a graph; the lowest number is next."""
        with self._condition:
            heapq.heappush(self._waiting, item)
            self._condition.notify()
        self._changed()

    def take(self) -> Item | None:
        """The next graph, which is in work now; None if there is none but a flag was set. Waits for either."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._flags)
            if not self._waiting:
                return None
            item = heapq.heappop(self._waiting)
            self._running.append(item)
        self._changed()
        return item

    def done(self, item: Item, result: dict[str, Any]) -> None:
        """Move a graph to the history."""
        with self._condition:
            self._running.remove(item)
            self._history[item[1]] = {"prompt": item, **result}
        self._changed()

    def flag(self, name: str) -> None:
        """Ask the worker for something, after the graph in work."""
        with self._condition:
            self._flags[name] = True
            self._condition.notify()

    def flags(self) -> set[str]:
        """What it was asked for since the last call."""
        with self._condition:
            found, self._flags = set(self._flags), {}
        return found

    def shown(self) -> dict[str, list[Item]]:
        """The answer of /queue; what waits is in no order, as in the original."""
        with self._condition:
            return {"queue_running": list(self._running), "queue_pending": list(self._waiting)}

    def remaining(self) -> int:
        """How many graphs wait or are in work."""
        with self._condition:
            return len(self._waiting) + len(self._running)

    def history(self, item: str | None = None) -> dict[str, Any]:
        """The answer of /history: of one graph, or of all."""
        with self._condition:
            return {key: value for key, value in self._history.items() if item in (None, key)}

    def drop(
        self, *, waiting: Callable[[str], bool] | None = None, history: Callable[[str], bool] | None = None
    ) -> None:
        """Forget the graphs, waiting or done, whose id a function chooses."""
        with self._condition:
            if waiting:
                self._waiting = [item for item in self._waiting if not waiting(item[1])]
                heapq.heapify(self._waiting)
            if history:
                self._history = {key: value for key, value in self._history.items() if not history(key)}
        self._changed()
