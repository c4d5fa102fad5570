"""sdfleet-fetch against servers that misbehave: the right bytes under the right name, or one clear sentence."""

import signal
import time
from pathlib import Path

import pytest

from tests.roles.models.conftest import SIZE, Fetcher, content, digest, wanted
from tests.roles.models.origin import Origin

pytestmark = pytest.mark.slow

GOOD = content(1)
DELIVER = ["", "norange", "nolength", "nolength_cut:100000", "cut:100000", "busy:1"]
"""Faults in spite of which one source alone must deliver."""

REFUSE = {
    "html": "answered with a web page (HTML) instead of the model",
    "hidden_html": "answered with a web page (HTML) instead of the model",
    "json": "answered with JSON instead of the model: Model is not public",
    "wrong": "sent wrong bytes (the sha256 is not the expected one)",
    "longer": "sends more than the 300000 bytes that the file has",
    "other_size": "has a file of 300008 bytes, not of 300000",
    "status:401": "refuses (HTTP 401): it wants a login",
    "status:403": "refuses (HTTP 403): it wants a login",
    "status:404": "does not have the file (HTTP 404)",
    "busy:3600": "is asked too often or overloaded (HTTP 429, asks to wait 3600 s)",
}
"""Faults that no patience cures, and the reason a person is told."""


@pytest.mark.parametrize("size", [-1, None], ids=["size known", "size unknown"])
@pytest.mark.parametrize("fault", DELIVER)
def test_delivers_in_spite_of(fault: str, size: int | None, fetcher: Fetcher, origin: Origin) -> None:
    done = fetcher.run(wanted(GOOD, origin.serve("/model", GOOD, fault), size=size))
    assert (done.status, done.errors) == (0, [])
    assert fetcher.blob(GOOD).read_bytes() == GOOD


@pytest.mark.parametrize("fault", REFUSE)
def test_refuses_with_the_reason(fault: str, fetcher: Fetcher, origin: Origin) -> None:
    done = fetcher.run(wanted(GOOD, origin.serve("/model", GOOD, fault)))
    assert done.status == 1
    [sentence] = done.errors
    assert sentence.startswith(f"sd15: no source delivered it: {origin.url('')} {REFUSE[fault]}")
    assert fetcher.final_names() == []


@pytest.mark.parametrize("fault", ["html", "wrong", "longer", "status:404"])
def test_takes_the_second_source(fault: str, fetcher: Fetcher, origin: Origin, mirror: Origin) -> None:
    done = fetcher.run(wanted(GOOD, origin.serve("/model", GOOD, fault), mirror.serve("/model", GOOD)))
    assert done.status == 0
    assert fetcher.blob(GOOD).read_bytes() == GOOD
    assert REFUSE[fault] in done.of("skip")[0]["reason"]
    assert done.of("skip")[0]["next"] == mirror.url("")


def test_goes_on_in_the_middle_of_a_file_with_the_next_source(fetcher: Fetcher, origin: Origin, mirror: Origin) -> None:
    done = fetcher.run(wanted(GOOD, origin.serve("/model", GOOD, "cut:200000"), mirror.serve("/model", GOOD)))
    assert done.status == 0
    assert mirror.requests[0][1]["range"] == "bytes=200000-"
    assert origin.sent + mirror.sent == SIZE


def test_skips_a_dead_source_and_says_so(fetcher: Fetcher, mirror: Origin) -> None:
    done = fetcher.run(wanted(GOOD, "http://127.0.0.1:9/model", mirror.serve("/model", GOOD)))
    assert done.status == 0
    assert "does not answer (connection refused)" in done.of("retry")[0]["reason"]


def test_bytes_of_two_sources_that_do_not_fit_are_fetched_anew(
    fetcher: Fetcher, origin: Origin, mirror: Origin
) -> None:
    bad = content(2)
    done = fetcher.run(wanted(GOOD, origin.serve("/model", bad, "cut:200000"), mirror.serve("/model", GOOD)))
    assert done.status == 0
    assert fetcher.blob(GOOD).read_bytes() == GOOD


def test_a_spoilt_part_of_an_earlier_run_is_fetched_anew(fetcher: Fetcher, origin: Origin) -> None:
    part = fetcher.store / "partial" / digest(GOOD)
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(1000))
    assert fetcher.run(wanted(GOOD, origin.serve("/model", GOOD))).status == 0
    assert fetcher.blob(GOOD).read_bytes() == GOOD


def test_a_secret_never_goes_to_another_host(fetcher: Fetcher, origin: Origin, mirror: Origin) -> None:
    target = mirror.serve("/signed", GOOD, "signed")
    url = origin.serve("/model", GOOD, f"expiring:{target}")
    done = fetcher.run(wanted(GOOD, url, headers={"Authorization": "Bearer hush"}))
    assert (done.status, done.errors) == (0, [])  # the first signature had expired: asked the origin for another
    assert [headers["authorization"] for _, headers in origin.requests] == ["Bearer hush"] * 2
    assert all("authorization" not in headers for _, headers in mirror.requests)
    assert "hush" not in str(done)


def test_a_secret_stays_on_a_redirect_within_its_host(fetcher: Fetcher, origin: Origin) -> None:
    origin.serve("/renamed", GOOD)
    url = origin.serve("/model", GOOD, "redirect:/renamed")
    assert fetcher.run(wanted(GOOD, url, headers={"Authorization": "Bearer hush"})).status == 0
    assert origin.requests[1][1]["authorization"] == "Bearer hush"


def test_too_little_space_is_said_before_anything_is_fetched(fetcher: Fetcher, origin: Origin) -> None:
    done = fetcher.run(wanted(GOOD, origin.serve("/model", GOOD), size=10**18))
    assert done.status == 1
    assert "1000000000.0 GB are to be fetched" in done.errors[0]
    assert origin.requests == []


def test_one_bad_model_does_not_keep_the_others_from_coming(fetcher: Fetcher, origin: Origin) -> None:
    other = content(3)
    done = fetcher.run(
        wanted(GOOD, origin.serve("/bad", GOOD, "status:404"), model="bad"),
        wanted(other, origin.serve("/good", other), model="good"),
    )
    assert done.status == 1
    assert [sentence.partition(":")[0] for sentence in done.errors] == ["bad"]
    assert fetcher.blob(other).exists()


def test_two_names_for_one_file_cost_one_download(fetcher: Fetcher, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/model", GOOD)
    links = {str(tmp_path / "a.safetensors"): digest(GOOD), str(tmp_path / "b.safetensors"): digest(GOOD)}
    assert fetcher.run(wanted(GOOD, url, model="a"), wanted(GOOD, url, model="b"), links=links).status == 0
    assert origin.asked["/model"] == 1
    assert (tmp_path / "b.safetensors").read_bytes() == GOOD


def test_the_bandwidth_limit_holds(fetcher: Fetcher, origin: Origin) -> None:
    began = time.monotonic()
    assert fetcher.run(wanted(GOOD, origin.serve("/model", GOOD)), bytes_per_second=300_000).status == 0
    assert time.monotonic() - began > 0.9


def test_a_killed_sync_leaves_no_final_name_and_is_resumed(fetcher: Fetcher, origin: Origin) -> None:
    origin.rate = 600_000
    file = wanted(GOOD, origin.serve("/model", GOOD))
    process = fetcher.start(fetcher.manifest(file))
    part = fetcher.store / "partial" / digest(GOOD)
    while not part.exists() or part.stat().st_size < 100_000:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert fetcher.final_names() == []
    have = part.stat().st_size
    assert fetcher.run(file).status == 0
    assert origin.requests[1][1]["range"] == f"bytes={have}-"
    assert fetcher.blob(GOOD).read_bytes() == GOOD


def test_a_second_sync_waits_for_its_turn_and_says_who_is_at_work(fetcher: Fetcher, origin: Origin) -> None:
    origin.rate = 200_000
    file = wanted(GOOD, origin.serve("/model", GOOD))
    first = fetcher.start(fetcher.manifest(file))
    second = fetcher.run(file)
    first.communicate()
    assert (first.returncode, second.status) == (0, 0)
    assert origin.asked["/model"] == 1


def test_a_file_that_the_controller_sent_is_checked_like_any_other(fetcher: Fetcher) -> None:
    part = fetcher.store / "partial" / digest(GOOD)
    part.parent.mkdir(parents=True)
    assert fetcher.run(wanted(GOOD)).errors == ["sd15: the controller did not send it; run apply again"]
    part.write_bytes(bytes(len(GOOD)))
    [sentence] = fetcher.run(wanted(GOOD)).errors
    assert sentence == "sd15: what the controller sent has another sha256 than the manifest wants"
    part.write_bytes(GOOD)
    assert fetcher.run(wanted(GOOD)).status == 0
    assert fetcher.blob(GOOD).read_bytes() == GOOD


def test_what_a_cache_kept_wrongly_is_asked_for_anew(fetcher: Fetcher, origin: Origin) -> None:
    assert fetcher.run(wanted(GOOD, origin.serve("/model", GOOD, "stale"))).status == 0
    assert [headers.get("cache-control") for _, headers in origin.requests] == [None, "no-cache"]
    assert fetcher.blob(GOOD).read_bytes() == GOOD
