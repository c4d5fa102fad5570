"""Escaping of untrusted text (metadata, file names, answers) for terminals and HTML pages."""

import unicodedata

ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that are not drawn but have an effect: control characters (C0, DEL, C1), direction overrides and
other format characters, lone surrogates (bytes of a file name that are not UTF-8), line and paragraph separators."""
KEPT = frozenset("\n\t\u200c\u200d")
"""Line breaks and tabs of our own messages; the joiners that Persian, Indic scripts and emoji need."""


def visible(text: str) -> str:
    """The text with every character that affects a terminal or the direction of text written as its escape."""
    if text.isprintable():
        return text
    return "".join(_escape(char) if _acts(char) else char for char in text)


def visible_line(text: str) -> str:
    """The same on one line: a line break or tab in a name must not look like one of ours."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def say(text: str, err: bool = False, nl: bool = True) -> None:
    """Print a message of `lora-train`."""
    import typer  # most programs that import this module print in another way

    typer.echo(visible(text), err=err, nl=nl)


def _acts(char: str) -> bool:
    return char not in KEPT and unicodedata.category(char) in ACTING


def _escape(char: str) -> str:
    # JSON, TOML and Python read these escapes alike, so a document stays what it was.
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
