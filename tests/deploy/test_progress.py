"""What a person sees of a run's log."""

import json

from deploy.runs.progress import Progress, duration, sparkline


def lines(*records: dict[str, object]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_line_grows_with_the_log() -> None:
    progress = Progress()
    assert progress.line() == "step 0/?"
    progress.feed(lines({"event": "start", "step": 0, "steps": 100}))
    assert progress.line() == "step 0/100"
    progress.feed(
        lines({"event": "step", "step": 1, "steps": 100, "epoch": 1, "loss": 0.5, "it_per_s": 2, "eta_s": 99})
    )
    assert progress.line() == "step 1/100  epoch 1  loss 0.5000  2.00 it/s  ETA 1:39"
    progress.feed(lines({"event": "step", "step": 2, "steps": 100, "epoch": 1, "loss": 0.25, "loss_smooth": 0.4}))
    assert "loss 0.4000 █▁" in progress.line()


def test_broken_lines_are_passed_over() -> None:
    progress = Progress()
    progress.feed('not json\n[1]\n{"event": "end", "step": 7, "steps": 7}\n')
    assert (progress.event, progress.step) == ("end", 7)


def test_sparkline_keeps_its_width() -> None:
    assert sparkline([1.0]) == ""
    assert sparkline([2.0, 1.0]) == "█▁"
    assert len(sparkline(range(1000))) == 24
    assert sparkline([1.0, 1.0, 1.0]) == "▁▁▁"


def test_duration() -> None:
    assert [duration(s) for s in (0, 61, 3725)] == ["0:00", "1:01", "1:02:05"]
