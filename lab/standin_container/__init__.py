"""Scripts of a lab container that stand in for a provider's."""

from pathlib import Path

from lab.programs import rendered


def script(name: str, **values: str) -> str:
    """The text of a script, with each @KEY@ replaced."""
    return rendered(Path(__file__).resolve().parent / f"{name}.sh", values)
