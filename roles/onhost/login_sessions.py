"""Who is logged in at the gateway."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from roles.onhost import files

LARGEST = 64_000_000
"""Bytes of the file. An entry has some 200 and stays for up to a year; a script may log in hundreds of times a day."""


class Sessions:
    """Who is logged in: only digests of the words that browsers hold are kept, in a file that outlives a restart."""

    def __init__(self, file: Path, users: dict[str, str], seconds: float) -> None:
        self.file, self.users, self.seconds = file, users, seconds
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            self._known = {key: entry for key, entry in files.read_json(file, LARGEST).items() if self._holds(entry)}

    def open(self, name: str, kind: str = "session", seconds: float | None = None) -> str:
        """A new word for `name`; each login has one of its own."""
        word = secrets.token_urlsafe(32)
        until = time.time() + (self.seconds if seconds is None else seconds)
        entry = {"name": name, "kind": kind, "until": until, "of": digest(self.users[name])}
        with self._lock:
            self._known = {key: entry for key, entry in self._known.items() if self._holds(entry)}
            self._known[digest(word)] = entry
            self._save()
        return word

    def name_of(self, word: str, kind: str = "session") -> str:
        """Whose word it is; empty if it is none, has expired, or the login or its password is another by now."""
        entry = self._known.get(digest(word)) if word else None
        return str(entry["name"]) if entry and entry["kind"] == kind and self._holds(entry) else ""

    def close(self, word: str) -> None:
        """Forget a word."""
        with self._lock:
            if self._known.pop(digest(word), None):
                self._save()

    def _holds(self, entry: dict[str, Any]) -> bool:
        stored = self.users.get(entry["name"])
        return stored is not None and entry["until"] > time.time() and entry["of"] == digest(stored)

    def _save(self) -> None:
        files.write(self.file, json.dumps(self._known), 0o600)


def digest(word: str) -> str:
    """What is kept of a word that must not be known."""
    return hashlib.sha256(word.encode()).hexdigest()
