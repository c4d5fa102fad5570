"""The report of a run: whole in one file, safe with any text, and shown by a real browser without a request."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from deploy.runs import report
from inventory.errors import SdfleetError
from tests import browser

EVIL = 'a cat <script>alert("x")</script> & <img src="https://outside.invalid/x.png">'


def make_run(folder: Path, steps: int = 40) -> Path:
    """A fetched run with two prompts, drawn three times."""
    (folder / "samples").mkdir(parents=True)
    events = [
        {"event": "step", "step": s, "steps": steps, "epoch": 1 + s // 10, "loss": 1 / s} for s in range(1, steps)
    ]
    for step in (0, 20, 40):
        for place in (0, 1):
            name = f"ink-{step:08d}-{place:02d}.png"
            Image.new("RGB", (64, 64), (step * 6, 80 * place, 120)).save(folder / "samples" / name)
            prompt = EVIL if place else "a cat"
            events.append({"event": "sample", "step": step, "epoch": 1 + step // 10, "file": name, "prompt": prompt})
    (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    record = {
        "format": 1,
        "machine": {"host": "gpu-1", "cpu": "a CPU"},
        "config": {},
        "seconds": 12.5,
        "losses": [[event["step"], event["loss"]] for event in events if event["event"] == "step"],
        "outputs": {"output/ink.safetensors": {"sha256": "ab" * 32, "size": 3_200_000}},
        "inputs": {"inputs/a.txt": {"kind": "caption", "sha256": "cd" * 32}},
        "ended": {"how": "finished", "reason": "", "step": steps, "time": "2026-11-24T00:00:00Z"},
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.toml").write_text(f"name = {json.dumps(EVIL)}\n")
    return folder


def test_everything_is_inside_and_text_stays_text(tmp_path: Path) -> None:
    text = report.write(make_run(tmp_path / "ink")).read_text()
    assert text.count("data:image/png;base64,") == 6
    assert "<script" not in text and 'src="http' not in text
    assert "ab" * 32 in text and "cd" * 32 in text and "epoch 3, step 20" in text
    assert "gpu-1" in text and "finished" in text


def test_text_that_would_act_is_shown(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "ink")
    record = json.loads((folder / "run.json").read_text())
    record["machine"]["host"] = "gpu\u202e1-\x1b]52;c;x\x07\udcff"
    record["ended"]["reason"] = "\x9b31m\u2066"
    (folder / "run.json").write_text(json.dumps(record))
    text = report.write(folder).read_text(encoding="utf-8")
    assert not re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "gpu\\u202e1" in text


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SdfleetError, match="has no record of a run; to fetch it: sdfleet train fetch"):
        report.write(tmp_path)


@pytest.mark.slow
def test_a_browser_shows_it_without_errors_or_requests(tmp_path: Path) -> None:
    file = report.write(make_run(tmp_path / "ink"))
    said: list[str] = []
    asked: set[str] = set()
    with browser.opened(tmp_path) as page:
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.add(request.url))
        page.goto(file.as_uri())
        page.screenshot(path=tmp_path / "shown.png", full_page=True)
    assert said == []
    assert file.as_uri() in asked
    assert not [url for url in asked if not url.startswith(("file://", "data:"))], asked
    with Image.open(tmp_path / "shown.png") as shown:
        colours = shown.convert("RGB").getcolors(1 << 20) or []
    # The samples' own colours are on the page, so pictures were really decoded and laid out.
    assert {(240, 80, 120), (120, 0, 120)} <= {colour for _, colour in colours}
