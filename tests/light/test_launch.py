"""The light WebUI writes what the original writes at its first start, and at later ones."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

from tests.light.fleet import CODE

UNNAMED = "fatal: No names found, cannot describe anything."


def written(folder: Path) -> list[str]:
    """What one start writes to the journal, up to its last line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(folder / "launch.py"), "--port", str(port), "--data-dir", str(folder / "data")]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as webui:
        assert webui.stdout
        for line in webui.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("Startup time:"):
                break
        webui.kill()
    return lines


def test_gits_complaint_comes_into_the_line_of_the_first_hash(tmp_path: Path) -> None:
    for file in CODE:
        shutil.copy(file, tmp_path)
    (tmp_path / "fate").write_text("good")
    model = tmp_path / "data/models/Stable-diffusion/m.safetensors"
    model.parent.mkdir(parents=True)
    model.touch()
    assert written(tmp_path) == [f"Calculating sha256 for {model}: {UNNAMED}", "Startup time: 0.0s"]
    assert written(tmp_path) == [UNNAMED, "Startup time: 0.0s"]
