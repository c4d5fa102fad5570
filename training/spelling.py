"""Hints at a misspelled word, for errors."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean WORD?)` with the known word that is most like `word`, or nothing."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def did_you_mean_or_all(word: str, known: Iterable[str]) -> str:
    """The same, and all known words where none is like `word`."""
    names = sorted(known)
    return did_you_mean(word, names) or f"; known are {', '.join(names)}"
