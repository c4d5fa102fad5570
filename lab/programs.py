"""Programs for hosts, kept as files with placeholders."""

from collections.abc import Mapping
from pathlib import Path


def rendered(file: Path, values: Mapping[str, str]) -> str:
    """The text of a file, with each @KEY@ replaced."""
    text = file.read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text
