"""The progress of a download, as the engine reports it while the download runs and as a pipe shows it."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.console import out
from deploy.engine.events import EVENT, Log
from deploy.engine.view import EngineView

TREE = Path(__file__).resolve().parents[3]
ENGINE = """
from deploy.engine import process
from pathlib import PurePosixPath
from pyinfra.api.operation import operation
from roles.models import live

live.LOOK_SECONDS, live.LOOKS_A_LINE = 0.05, 1
process.hostlock.STEP = ()  # a lock of this machine
PROGRAM = {program!r}

@operation()
def fetched():
    yield live.LiveCommand("sh", "-c", live.QuoteString(PROGRAM), progress=PurePosixPath({progress!r}))

process.main(lambda _: fetched(name="Fetch"))
"""
PROGRAM = """
for done in 1 2 3 4 5 6; do
  printf '{{"event": "progress", "files": [{{"model": "sd15", "done": %s000, "size": 6000}}], "rate": 500}}' \
    $done >{progress}
  sleep 0.3
done
"""


@pytest.mark.slow
def test_a_pipe_gets_lines_while_a_download_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, progress = tmp_path / "fleet.toml", tmp_path / "progress.json"
    fleet.write_text('[fleet]\nname = "s"\n[hosts.gpu-1]\naddress = "local"\ngroups = []\n')
    code = ENGINE.format(program=PROGRAM.format(progress=progress), progress=str(progress))
    request = {"fleet": str(fleet), "hosts": ["gpu-1"], "roles": ["models"], "apply": True, "locked": True}
    shown = io.StringIO()
    monkeypatch.setattr(out, "_file", shown)
    assert not out.is_terminal
    times = []
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdin and engine.stdout
        engine.stdin.write(json.dumps(request) + "\n")
        engine.stdin.flush()
        with EngineView(("gpu-1",), apply=True) as view:
            for line in engine.stdout:
                event = EVENT.validate_json(line)
                view.show(event)
                if isinstance(event, Log) and " of 6.0 kB" in event.text:
                    times.append(time.monotonic())
        ended = time.monotonic()
        engine.stdin.close()
    lines = [line for line in shown.getvalue().splitlines() if " of 6.0 kB" in line]
    assert len(lines) == len(times) >= 3, shown.getvalue()
    assert ended - times[0] > 0.8, "the first line comes long before the end"
    assert all(line.startswith("gpu-1 ") and ", 500 bytes/s, 0:" in line for line in lines), lines
    assert view.results["gpu-1"].status == "ok"
