"""A known failure: what its line in the journal looks like, and its cure."""

from collections.abc import Callable
from dataclasses import dataclass

from roles.said import Said, placeholders, say


@dataclass(frozen=True)
class Failure:
    name: str
    pattern: str
    """Regular expression for a line of the journal."""
    cure: str
    """What to do; each setting in braces."""
    seen: str
    """Where it was reported."""

    def cure_for(self, place: Callable[[str], str]) -> Said:
        """The cure for one host; `place` says which table of fleet.toml decides a setting for it."""
        return say(self.cure, **{setting: place(setting) for setting in placeholders(self.cure)})
