"""Checks that an untrusted file has the format of its name, in a child process without privileges."""

import sys
from pathlib import Path

from roles.onhost import confined

from . import pickles, safetensors
from .safetensors import FormatError

CHECK = "--check"
NAMES = 50
NAME_LENGTH = 200


def check_confined(file: Path, suffix: str) -> list[str]:
    """Names in a pickle that the scanner does not know; FormatError says why a file is not a model."""
    if suffix != ".safetensors" and suffix not in pickles.SUFFIXES:
        return []
    with Path(sys.argv[0]).open("rb") as program, file.open("rb") as stream:
        # The program by its descriptor: the user nobody may not be able to reach its path.
        words = [f"/proc/self/fd/{program.fileno()}", CHECK, suffix]
        try:
            unknown = confined.ask(words, stream, [program.fileno()])
        except confined.StrangeFileError as error:
            raise FormatError(str(error)) from None
    if not isinstance(unknown, list):
        raise FormatError("its reader gives a strange answer")
    return [str(name)[:NAME_LENGTH] for name in unknown[:NAMES]]


def main(suffix: str) -> int:
    """The child: checks standard input, reports on standard output."""
    if suffix == ".safetensors":
        confined.answer(lambda stream: safetensors.check_safetensors(stream) and [])
    else:
        pickles.load_scanner()  # while this program can still be read
        confined.answer(lambda stream: [name[:NAME_LENGTH] for name in pickles.check_pickle(stream, suffix)[:NAMES]])
    return 0
