"""Models that are files of this machine: once the lock names their bytes, only sending them needs them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from roles.models.config import CLIP

FLEET = """[fleet]
name = "x"
data_root = "/srv/sdfleet-no-such"
[hosts.me]
address = "local"
groups = ["webui"]
[[models]]
name = "ink"
kind = "lora"
source = "file:gone.safetensors"
"""


def pin(path: str, digit: str) -> dict[str, object]:
    return {"path": path, "url": "https://example.org/x", "sha256": digit * 64, "size": 5}


@pytest.mark.parametrize(("verb", "status"), [("plan", 0), ("drift", 3)])
def test_a_plan_needs_no_file_that_the_lock_names(verb: str, status: int, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(FLEET)
    models = {
        "lora/ink": {"source": "file:gone.safetensors", "files": [pin("gone.safetensors", "a")]},
        f"hub/{CLIP.name}": {
            "source": CLIP.source,
            "wanted": CLIP.files,
            "revision": "c" * 40,
            "files": [pin("config.json", "b")],
        },
    }
    file.with_suffix(".lock").write_text(json.dumps({"version": 1, "models": models}))
    words = [verb, "--role", "models", "--fleet", str(file)]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "400", "NO_COLOR": "1"})
    assert done.exit_code == status, done.output
    why = f"there is no file {tmp_path}/gone.safetensors on this machine"
    assert f"me ink: fetch 5 bytes; apply will fail: {why}" in done.output
    assert "me would Models | Fetch and link models" in done.output
