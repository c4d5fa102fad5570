"""Names of runs, made of what a person calls things: in any script, with blanks, as long as a path."""

import hashlib
import re
from pathlib import PurePosixPath

LONGEST = 100
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}")
"""What the name of a run is: it stands in units, paths and commands."""
LONGEST_WORD = 32
_UNFIT = re.compile(r"[^A-Za-z0-9._]+")


def run_name(text: str) -> str:
    """`text` as a name of a run, always the same and another for another text; as it is if it can be one."""
    return text if NAME.fullmatch(text) else _with_digest(text, text, LONGEST - 16)


def word(value: str) -> str:
    """A value as a part of a run's name: as it is if that fits, of a path its last part; told apart by a digest."""
    if re.fullmatch(r"[A-Za-z0-9._-]*", value) and len(value) <= LONGEST_WORD:
        return value
    path = PurePosixPath(value.replace("\\", "/"))
    return _with_digest(path.stem if "/" in str(path) else value, value, LONGEST_WORD)


def _with_digest(shown: str, whole: str, longest: int) -> str:
    digest = hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()[:8]
    return "-".join(part for part in (_UNFIT.sub("-", shown).strip("-._")[:longest], digest) if part)
