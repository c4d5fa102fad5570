"""The command of a script that starts the training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from training.kohya.bash.expansion import FROM_OUTSIDE, Expansion, Value, used_names
from training.kohya.bash.syntax import Assignment, Command
from training.kohya.bash.words import Variable, Word
from training.spelling import did_you_mean

SCRIPTS = ("train_network.py", "sdxl_train_network.py")
"""The programs of sd-scripts that train a LoRA for the families here."""


@dataclass(frozen=True)
class Launch:
    """The command that trains: accelerate or python up to the program of sd-scripts, that program, its arguments."""

    line: int
    launcher: tuple[Value, ...]
    program: str
    arguments: tuple[Value, ...]
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that are set for this command alone."""


def starts(words: Sequence[Word], expansion: Expansion) -> int | None:
    """Where a command names a training program, None if it does not."""
    texts = [value.text for word in words for value in expansion.split(word, strict=False)]
    names = [PurePosixPath(text.replace("\\", "/")).name for text in texts]
    place = next((place for place, found in enumerate(names) if found.endswith(".py")), None)
    return place if place is not None and "train" in names[place] else None


def launch_of(command: Command, expansion: Expansion, before: Launch | None) -> Launch:
    """The training that a command starts; `before` is one that the script has started.

    Raises InputError that names the line if the program is not supported, starts a second training, or
    gets a variable that is never set.
    """
    line = command.line
    place = starts(command.words, expansion) or 0
    words = [value for word in command.words for value in expansion.split(word)]
    program = PurePosixPath(words[place].text.replace("\\", "/")).name
    if program not in SCRIPTS:
        raise expansion.refuse(line, f"{program} is not supported; read are {' and '.join(SCRIPTS)}")
    if before is not None:
        raise expansion.refuse(line, f"starts a second training (the first is in line {before.line}); keep one")
    for part in (part for word in command.words for part in word.parts if isinstance(part, Variable)):
        asked = not part.items and part.default is None and part.name not in FROM_OUTSIDE
        if asked and part.name not in expansion.variables:
            hint = did_you_mean(part.name, expansion.variables)
            raise expansion.refuse(line, f"${part.name} is passed on but never set in the script{hint}")
    arguments = tuple(words[place + 1 :])
    for name in sorted(used_names(arguments) - expansion.variables.keys()):
        hint = did_you_mean(name, expansion.variables)
        raise expansion.refuse(line, f"${name} is passed on but never set in the script{hint}")
    environment = [(one.name, _text(one, expansion)) for one in command.assignments]
    if words[0].text == "env":
        pairs = (value.text.partition("=") for value in words[1:place])
        environment += [(name, value) for name, equals, value in pairs if equals and name.isidentifier()]
    return Launch(line, tuple(words[: place + 1]), program, arguments, tuple(environment))


def _text(assignment: Assignment, expansion: Expansion) -> str:
    """What one variable is set to before a command."""
    value = assignment.value
    if isinstance(value, tuple):
        return " ".join(word.source for word in value)
    return expansion.whole(value).text
