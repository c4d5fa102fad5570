"""Whatever a run has written into its record and log: reports, progress and comparisons are made, or refused."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.runs import report, reproduce, sweep
from deploy.runs.progress import Progress
from inventory.errors import SdfleetError
from tests.deploy.test_report import make_run
from tests.mutations import FEW, VALUES, changed
from training.run import record_format

STEP = {"event": "step", "step": 3, "steps": 9, "epoch": 1, "loss": 0.5, "loss_smooth": 0.5, "it_per_s": 1.5}
EVENTS = (STEP, {**STEP, "eta_s": 60.5, "memory_mb": 900}, {"event": "sample", "step": 3, "epoch": 1, "prompt": "a"})
LINES = st.lists(
    st.one_of(
        st.sampled_from(EVENTS).flatmap(changed).map(lambda event: json.dumps(event, default=str)),
        VALUES.map(lambda value: json.dumps(value, default=str)),
        st.sampled_from(["[" * 100_000, "", "\0", '{"event": "step", "loss": NaN}', '{"step": 1e999}']),
    ),
    max_size=6,
).map("\n".join)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fetched run."""
    return make_run(tmp_path_factory.mktemp("runs") / "ink")


RECORD: dict[str, Any] = {
    "format": record_format.FORMAT,
    "machine": {"host": "gpu-1", "gpus": []},
    "config": {"train": {"device": "cpu"}, "data": {"captions": {"extensions": [".txt"]}}},
    "seconds": 12.5,
    "losses": [[1, 0.5], [2, 0.25]],
    "outputs": {"output/ink.safetensors": {"sha256": "ab" * 32, "size": 3}},
    "inputs": {"inputs/data.0/a.txt": {"kind": "caption", "sha256": "cd" * 32}},
    "ended": {"how": "finished", "reason": ""},
    "file": "ink.safetensors",
    "sha256": "ab" * 32,
    "code": {"release": "a" * 16},
    "lives": [{"processes": 1}],
}


@FEW
@given(record=changed(RECORD), log=LINES)
def test_any_record(run: Path, record: dict[str, Any], log: str) -> None:
    (run / "run.json").write_text(json.dumps(record, default=str), encoding="utf-8", errors="surrogatepass")
    (run / "log.jsonl").write_text(log, encoding="utf-8", errors="surrogatepass")
    point = sweep.Point(run="ink", overrides=(), values=())
    for read in (
        lambda: report.write(run),
        lambda: sweep.compare([point], [], run.parent, run.parent / "sweep.html"),
        lambda: reproduce.judge(run, run),
    ):
        try:
            read()
        except SdfleetError as error:
            assert str(error)


@FEW
@given(log=LINES)
def test_any_log(log: str) -> None:
    progress = Progress()
    progress.feed(log)
    assert "\n" not in progress.line()


def test_a_run_that_diverged_is_still_shown(run: Path) -> None:
    progress = Progress()
    progress.feed("\n".join(json.dumps({**STEP, "step": n, "loss": loss}) for n, loss in enumerate([1.0, 0.5])))
    progress.feed(json.dumps({**STEP, "step": 2, "loss": float("nan"), "loss_smooth": float("nan")}))
    assert progress.line().startswith("step 2/9  epoch 1  loss nan █▁")
    record = copy.deepcopy(RECORD)
    record["losses"] += [[3, float("nan")], [4, float("inf")]]
    (run / "run.json").write_text(json.dumps(record))
    (run / "log.jsonl").write_text("")
    assert "nan" not in report.write(run).read_text().lower().partition("<svg")[2].partition("</svg>")[0]
