"""How often may be guessed at the gateway's passwords."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

WAITING = 5
"""Attempts that wait behind one name or address; those that come later are told to come again."""
MINUTE = 60.0
HOUR = 3600.0
KEYS = 10000
"""Names and addresses that are remembered, before the quiet ones are forgotten."""


class TooMany(Exception):
    """Others wait already; the text says nothing, the answer asks to come again."""


class Guesses:
    """Attempts by name and by address, the right ones forgiven: beyond so many a minute, each waits in a slow lane."""

    def __init__(self, a_minute: int) -> None:
        self.a_minute, self.pause = a_minute, MINUTE / a_minute / 2
        self._lock = threading.Lock()
        self._failed: dict[str, list[float]] = {}
        self._lanes: dict[str, threading.Lock] = {}
        self._waiting: dict[str, int] = {}
        self._wrong: dict[str, list[float]] = {}
        """Address -> when its last attempts of this hour began, the right ones taken out."""

    def is_new(self, address: str, at: float) -> bool:
        """Whether an address has made no wrong attempt this hour; from now on it has, until `clear` is told otherwise.

        Told at the beginning, or many attempts at once would all be the first.
        """
        with self._lock:
            recent = [began for began in self._wrong.get(address, ()) if at - began < HOUR]
            self._wrong[address] = [*recent[-1:], at]
            if len(self._wrong) > KEYS:
                self._wrong = dict(sorted(self._wrong.items(), key=lambda item: item[1][-1])[KEYS // 2 :])
            return not recent

    def clear(self, address: str, at: float) -> None:
        """The attempt of an address that began `at` was right, or none."""
        with self._lock:
            kept = [began for began in self._wrong.pop(address, []) if began != at]
            if kept:
                self._wrong[address] = kept

    def forgive(self, keys: list[str], at: float) -> None:
        """The attempt that began `at` had the right password."""
        with self._lock:
            for key in keys:
                with contextlib.suppress(ValueError):
                    self._failed.get(key, []).remove(at)

    def _recent(self, key: str, now: float) -> list[float]:
        return [at for at in self._failed.get(key, ()) if now - at < MINUTE]

    @contextlib.contextmanager
    def turn(self, keys: list[str]) -> Iterator[float]:
        """When an attempt begins, after it has waited for what guesses before it cost; it counts as one from there on.

        TooMany if as many wait already as may.
        """
        now = time.monotonic()
        with self._lock:
            slow = [key for key in sorted(keys) if len(self._recent(key, now)) >= self.a_minute]
            if any(self._waiting.get(key, 0) >= WAITING for key in slow):
                raise TooMany
            for key in keys:
                self._failed[key] = [*self._recent(key, now), now]
            if len(self._failed) > KEYS:
                self._failed = {key: times for key in self._failed if (times := self._recent(key, now))}
            for key in slow:
                self._waiting[key] = self._waiting.get(key, 0) + 1
            lanes = [self._lanes.setdefault(key, threading.Lock()) for key in slow]
        try:
            with contextlib.ExitStack() as held:
                for lane in lanes:
                    held.enter_context(lane)
                if lanes:
                    time.sleep(self.pause)
                yield now
        finally:
            with self._lock:
                for key in slow:
                    self._waiting[key] -= 1
                    if not self._waiting[key]:
                        del self._waiting[key], self._lanes[key]


def network(address: str) -> str:
    """What counts as one address: of IPv6, the /64 that a customer gets."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network(f"{found}/64", strict=False)) if found.version == 6 else str(found)
