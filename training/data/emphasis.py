"""Emphasis in captions, with the WebUI's meaning: (more), ((more still)), [less], (exactly:1.3), \\( for a bracket."""

import re
from dataclasses import dataclass

FACTOR = 1.1
"""What one bracket multiplies or divides by."""

_TOKEN = re.compile(r"\\([()\[\]\\])|([(\[])|:\s*([+-]?[.\d]+)\s*\)|([)\]])|([^\\()\[\]:]+|.)")


@dataclass(frozen=True)
class Weighted:
    """A piece of text and how much it counts."""

    text: str
    weight: float


def parse(text: str) -> list[Weighted]:
    """The pieces of a caption with their weights; brackets that are never closed count to the end."""
    pieces: list[tuple[str, float]] = []
    opened: list[tuple[str, int]] = []
    for escaped, opening, weight, closing, plain in _TOKEN.findall(text):
        if opening:
            opened.append((opening, len(pieces)))
        elif weight and opened and opened[-1][0] == "(":
            _scale(pieces, opened.pop()[1], float(weight))
        elif closing and opened and opened[-1][0] == {")": "(", "]": "["}[closing]:
            _scale(pieces, opened.pop()[1], FACTOR if closing == ")" else 1 / FACTOR)
        else:
            pieces.append((escaped or plain or closing or f":{weight})", 1.0))
    for bracket, start in opened:
        _scale(pieces, start, FACTOR if bracket == "(" else 1 / FACTOR)
    return _joined(pieces)


def _scale(pieces: list[tuple[str, float]], start: int, factor: float) -> None:
    pieces[start:] = [(text, weight * factor) for text, weight in pieces[start:]]


def _joined(pieces: list[tuple[str, float]]) -> list[Weighted]:
    """Neighbours of one weight as one piece, so that words are not cut."""
    found: list[Weighted] = []
    for text, weight in pieces:
        if found and found[-1].weight == weight:
            found[-1] = Weighted(found[-1].text + text, weight)
        else:
            found.append(Weighted(text, weight))
    return found
