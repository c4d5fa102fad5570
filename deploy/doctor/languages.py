"""What the doctor says, in another language: LANGUAGE.toml beside this file has each sentence by its English template.

A sentence that is not in it stays English.
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.options import Language
from roles.said import Said, fill


def catalogue(language: Language) -> Mapping[str, str]:
    """English template -> template in this language, with the same placeholders."""
    if language is Language.EN:
        return {}
    tables = tomllib.loads((Path(__file__).parent / f"{language}.toml").read_text(encoding="utf-8"))
    return {english: its for table in tables.values() for english, its in table.items()}


def speaker(language: Language) -> Callable[[str], str]:
    """A function that says an English sentence in this language, and what it quotes as it is."""
    known = catalogue(language)

    def speak(text: str) -> str:
        if not isinstance(text, Said):
            return known.get(text, text)
        if text.template not in known:
            return text
        values = {name: speak(value) if isinstance(value, Said) else value for name, value in text.values.items()}
        return fill(known[text.template], values)

    return speak
