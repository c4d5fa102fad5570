"""Emphasis in captions, by the WebUI's rules: (more), ((even more)), [less], (exactly:1.3), \\( for a bracket."""

import re
from dataclasses import dataclass

FACTOR = 1.1
"""Factor of one pair of round brackets; square ones divide by it."""

_TOKEN = re.compile(
    r"\\([()\[\]\\])|([(\[])|:\s*([+-]?(?:[0-9]{1,9}(?:\.[0-9]*)?|\.[0-9]+))\s*\)|([)\]])|([^\\()\[\]:]+|.)"
)


@dataclass(frozen=True)
class WeightedText:
    """A piece of text and its weight."""

    text: str
    weight: float


def parse_emphasis(text: str) -> list[WeightedText]:
    """The pieces of a caption with their weights; brackets that are never closed extend to the end."""
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


def _joined(pieces: list[tuple[str, float]]) -> list[WeightedText]:
    """Adjacent pieces of one weight joined, so that words are not split."""
    found: list[WeightedText] = []
    for text, weight in pieces:
        if found and found[-1].weight == weight:
            found[-1] = WeightedText(found[-1].text + text, weight)
        else:
            found.append(WeightedText(text, weight))
    return found
