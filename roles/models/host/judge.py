"""Whether a stranger's file is what its name says, found out in a child that has nothing to lose."""

import sys
from pathlib import Path

from roles.onhost import confined

from . import pickles, safetensors
from .safetensors import FormatError

CHECK = "--check"
NAMES = 50
NAME_LENGTH = 200


def check(file: Path, suffix: str) -> list[str]:
    """What a file mentions that the scanner does not know (pickles alone); FormatError says why it is no model."""
    if suffix != ".safetensors" and suffix not in pickles.SUFFIXES:
        return []
    with Path(sys.argv[0]).open("rb") as program, file.open("rb") as stream:
        # The program by its descriptor: nobody need not be able to walk to where it lies.
        words = [f"/proc/self/fd/{program.fileno()}", CHECK, suffix]
        try:
            unknown = confined.ask(words, stream, [program.fileno()])
        except confined.StrangeFileError as error:
            raise FormatError(str(error)) from None
    if not isinstance(unknown, list):
        raise FormatError("its reader gives a strange answer")
    return [str(name)[:NAME_LENGTH] for name in unknown[:NAMES]]


def main(suffix: str) -> int:
    """The child: judges standard input, tells on standard output."""
    if suffix == ".safetensors":
        confined.answer(lambda stream: safetensors.check(stream) and [])
    else:
        pickles.load()  # while this program can still be read
        confined.answer(lambda stream: [name[:NAME_LENGTH] for name in pickles.check(stream, suffix)[:NAMES]])
    return 0
