"""Assignments of bash scripts, plain and by `declare`, `export` and the like, and `unset`."""

from training.kohya.bash.shell import OF_BASH, Field, Shell
from training.kohya.bash.statements import Assignment, Command


def declare(command: Command, shell: Shell) -> None:
    """Assign, with or without `declare` and similar builtins."""
    texts = [value.text for word in command.words for value in shell.split(word)]
    given = [letter for text in texts[1:] if text[:1] in ("-", "+") for letter in text[1:]]
    if texts[:1] == ["local"]:
        raise shell.refuse(command.line, "local: is for functions only; bash does not set it here")
    if set(given) - set("agrx"):
        raise shell.refuse(command.line, f"{' '.join(texts)}: is not followed here; write a plain assignment")
    for assignment in command.assignments:
        _assign(assignment, command.line, shell)
        if texts[:1] == ["readonly"] or "r" in given:
            shell.readonly.add(assignment.name)


def unset(command: Command, shell: Shell) -> None:
    names = [value.text for word in command.words[1:] for value in shell.split(word)]
    for name in names:
        if not name.isidentifier() and name not in ("-v", "-f"):
            raise shell.refuse(command.line, f"unset {name}: is not followed here")
        if name != "-f":
            shell.variables.pop(name, None)
            shell.arrays.discard(name)


def _assign(assignment: Assignment, line: int, shell: Shell) -> None:
    name = assignment.name
    if name in shell.readonly:
        raise shell.refuse(line, f"{name}: is readonly; bash does not set it again")
    if name == "IFS" or name in OF_BASH:
        raise shell.refuse(line, f"{name}: has a meaning for bash itself and is not followed here")
    before = shell.variables.get(name, [])
    if isinstance(assignment.value, tuple):
        for word in assignment.value:
            if word.source.startswith("[") and "]=" in word.source:
                raise shell.refuse(line, f"{word.source}: items are read in their order only")
        shell.arrays.add(name)
        kept = before if assignment.append else []
        shell.variables[name] = [
            *kept,
            *(value for word in assignment.value for value in shell.split(word)),
        ]
    else:
        value = shell.whole(assignment.value)
        first = before[0] if before and assignment.append else Field("")
        shell.variables[name] = [Field(first.text + value.text, first.names | value.names), *before[1:]]
