"""What a person reads of a sync."""

import json

import pytest

from roles.models.live import event_sentences

FILES = [{"model": "sd15", "done": 1_000_000_000, "size": 4_000_000_000}, {"model": "ink", "done": 0, "size": 10_000}]


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (
            {"event": "progress", "files": FILES, "rate": 30e6},
            "1.0 GB of 4.0 GB (sd15 25%), 30.0 MB/s, 1:40 left",
        ),
        (
            {"event": "progress", "files": [FILES[0] | {"rate": 20e6}, FILES[1]], "rate": 20e6},
            "1.0 GB of 4.0 GB (sd15 25% at 20.0 MB/s, 2:30), 20.0 MB/s, 2:30 left",
        ),
        (
            {"event": "progress", "files": [{"model": "sd15", "done": 5000, "size": None}], "rate": 1e6},
            "5.0 kB of 1 file(s), 1.0 MB/s",
        ),
        ({"event": "fetched", "model": "ink", "bytes": 10_000}, "ink: fetched, 10.0 kB"),
        (
            {"event": "skip", "model": "ink", "source": "https://a.example", "reason": "refuses", "next": "https://b"},
            "ink: https://a.example refuses; going on with https://b",
        ),
        (
            {"event": "retry", "model": "ink", "source": "https://a", "reason": "is silent", "wait": 2.0, "next": None},
            "ink: https://a is silent; asked again in 2.0 s",
        ),
        (
            {"event": "repeat", "model": "ink", "source": "https://a", "bytes": 5000},
            "ink: https://a cannot resume and sends the first 5.0 kB again",
        ),
    ],
)
def test_events_become_sentences(event: dict[str, object], sentence: str) -> None:
    assert list(event_sentences([json.dumps(event)])) == [sentence]


def test_what_is_no_event_is_left_out() -> None:
    assert list(event_sentences(["Traceback", '{"event": "unknown"}'])) == []
