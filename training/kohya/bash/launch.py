"""The command of a script that starts a training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from training.kohya.bash.shell import FROM_OUTSIDE, Field, Shell, used_names
from training.kohya.bash.statements import Assignment, Command
from training.kohya.bash.words import Variable, Word
from training.spelling import did_you_mean

SCRIPTS = ("train_network.py", "sdxl_train_network.py")
"""The programs of sd-scripts that train a LoRA for the families here."""


@dataclass(frozen=True)
class Launch:
    """The command that trains: the launcher (accelerate or python), the program of sd-scripts, and its arguments."""

    line: int
    launcher: tuple[Field, ...]
    program: str
    words: tuple[Field, ...]
    """The arguments of that program."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that are set for this command alone."""


def starts(words: Sequence[Word], shell: Shell) -> int | None:
    """The position of a training program in a command; None if there is none."""
    texts = [value.text for word in words for value in shell.split(word, strict=False)]
    names = [PurePosixPath(text.replace("\\", "/")).name for text in texts]
    place = next((place for place, found in enumerate(names) if found.endswith(".py")), None)
    return place if place is not None and "train" in names[place] else None


def launch_of(command: Command, shell: Shell, before: Launch | None) -> Launch:
    """The training that a command starts; `before` is one that the script has already started.

    Raises InputError that names the line if the program is not supported, starts a second training, or
    gets a variable that is never set.
    """
    line = command.line
    place = starts(command.words, shell) or 0
    words = [value for word in command.words for value in shell.split(word)]
    program = PurePosixPath(words[place].text.replace("\\", "/")).name
    if program not in SCRIPTS:
        raise shell.refuse(line, f"{program} is not supported; read are {' and '.join(SCRIPTS)}")
    if before is not None:
        raise shell.refuse(line, f"starts a second training (the first is in line {before.line}); keep one")
    for part in (part for word in command.words for part in word.parts if isinstance(part, Variable)):
        asked = not part.items and part.default is None and part.name not in FROM_OUTSIDE
        if asked and part.name not in shell.variables:
            hint = did_you_mean(part.name, shell.variables)
            raise shell.refuse(line, f"${part.name} is passed on but never set in the script{hint}")
    passed = tuple(words[place + 1 :])
    for name in sorted(used_names(passed) - shell.variables.keys()):
        hint = did_you_mean(name, shell.variables)
        raise shell.refuse(line, f"${name} is passed on but never set in the script{hint}")
    environment = [(one.name, _text(one, shell)) for one in command.assignments]
    if words[0].text == "env":
        pairs = (value.text.partition("=") for value in words[1:place])
        environment += [(name, value) for name, equals, value in pairs if equals and name.isidentifier()]
    return Launch(line, tuple(words[: place + 1]), program, passed, tuple(environment))


def _text(assignment: Assignment, shell: Shell) -> str:
    """The value of an assignment before a command."""
    value = assignment.value
    if isinstance(value, tuple):
        return " ".join(word.source for word in value)
    return shell.whole(value).text
