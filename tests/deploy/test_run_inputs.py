"""The inputs of runs on their host: kept once, and never taken for what they are not."""

import getpass
import hashlib
from pathlib import Path

from deploy.onhost import run_inputs


def test_an_input_that_was_edited_on_the_host_is_asked_for_again(tmp_path: Path) -> None:
    store, incoming, run = tmp_path / "datasets", tmp_path / "incoming", tmp_path / "runs/ink"
    caption = b"a cat"
    sha256 = hashlib.sha256(caption).hexdigest()
    incoming.mkdir()
    (incoming / sha256).write_bytes(caption)
    assert run_inputs.missing(str(store), [sha256]) == [sha256]
    run_inputs.create(str(run), str(store), str(incoming), {"data.folder/1.txt": sha256}, "", {}, getpass.getuser())
    assert run_inputs.missing(str(store), [sha256]) == []
    with (run / "inputs/data.folder/1.txt").open("ab") as file:
        file.write(b", edited")
    assert run_inputs.missing(str(store), [sha256]) == [sha256]
