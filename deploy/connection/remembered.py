"""Files in which this machine remembers something of a host. A lost or damaged one only costs what it saved."""

import contextlib
import hashlib
import json
from pathlib import Path

from inventory.errors import SdfleetError
from inventory.files import replace_file


class Remembered:
    """One such file, which only its owner can read."""

    def __init__(self, folder: Path, *key: object) -> None:
        """
        + folder: for files of this kind
        + key: everything that it depends on
        """
        self.file = folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"

    def read(self, largest: int) -> object:
        """Its content, of which so many bytes are read; None if there is none, or if that is no JSON."""
        try:
            with self.file.open("rb") as stream:
                return json.loads(stream.read(largest))
        except (OSError, ValueError, RecursionError):
            return None

    def write(self, content: object) -> None:
        """Replace its content, if the folder can be written."""
        with contextlib.suppress(OSError, SdfleetError):
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self.file, json.dumps(content), mode=0o600, durable=False)
