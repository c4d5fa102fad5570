"""Each fault as a client on the other end of the wire sees it."""

import time

import pytest
import requests

from lab.upstreams.control import Control
from lab.upstreams.faults import Fault
from lab.upstreams.service import Upstreams

DATA = bytes(range(256)) * 2000


@pytest.fixture
def url(upstreams: Upstreams) -> str:
    """A plain download."""
    upstreams.folders.files.mkdir(parents=True)
    (upstreams.folders.files / "a.bin").write_bytes(DATA)
    return f"{upstreams.url('files')}/a.bin"


def test_dead_server_refuses_connections_until_the_fault_is_off(upstreams: Upstreams, url: str) -> None:
    upstreams.set_faults(Fault(kind="dead", server="files"))
    with pytest.raises(requests.ConnectionError, match="Connection refused"):
        requests.get(url, timeout=10)
    upstreams.set_faults()
    assert requests.get(url, timeout=10).content == DATA


def test_dead_path_is_closed_unanswered(upstreams: Upstreams, url: str) -> None:
    upstreams.set_faults(Fault(kind="dead", server="files", path="/a.*"))
    with pytest.raises(requests.ConnectionError, match="without response"):
        requests.get(url, timeout=10)
    assert requests.get(f"{upstreams.url('files')}/b.bin", timeout=10).status_code == 404


def test_hang(upstreams: Upstreams, url: str) -> None:
    upstreams.set_faults(Fault(kind="hang", server="files"))
    with pytest.raises(requests.Timeout):
        requests.get(url, timeout=0.3)


def test_html_with_200(upstreams: Upstreams, url: str) -> None:
    upstreams.set_faults(Fault(kind="html", server="files"))
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.content[:9]) == (200, b"<!doctype")


@pytest.mark.parametrize("header", [{}, {"Range": "bytes=1000-"}])
def test_wrong_bytes_of_the_right_length(upstreams: Upstreams, url: str, header: dict[str, str]) -> None:
    right = requests.get(url, headers=header, timeout=10).content
    upstreams.set_faults(Fault(kind="wrong", server="files"))
    wrong = requests.get(url, headers=header, timeout=10).content
    assert len(wrong) == len(right)
    assert wrong != right


def test_cut_promises_all_and_sends_part(upstreams: Upstreams, url: str) -> None:
    upstreams.set_faults(Fault(kind="cut", server="files", after=70_000))
    answer = requests.get(url, stream=True, timeout=10)
    assert answer.headers["Content-Length"] == str(len(DATA))
    got = b""
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        for chunk in answer.iter_content(10_000):
            got += chunk
    assert got == DATA[: len(got)]
    assert len(got) <= 70_000


def test_slow_is_one_rate_for_all(upstreams: Upstreams, url: str) -> None:
    upstreams.set_faults(Fault(kind="slow", server="files", rate=1_000_000))
    start = time.monotonic()
    assert requests.get(url, timeout=10).content == DATA
    assert requests.get(url, timeout=10).content == DATA
    assert time.monotonic() - start > 0.9


def test_status_with_retry_after_hits_as_often_as_told(upstreams: Upstreams, url: str) -> None:
    upstreams.set_faults(Fault(kind="status", server="files", status=429, retry_after=7, times=1))
    answer = requests.get(url, timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert requests.get(url, timeout=10).content == DATA


def test_missing_length(upstreams: Upstreams, url: str) -> None:
    upstreams.set_faults(Fault(kind="no_length", server="files"))
    answer = requests.get(url, timeout=10)
    assert "Content-Length" not in answer.headers
    assert answer.content == DATA


def test_range_ignored(upstreams: Upstreams, url: str) -> None:
    wanted = {"Range": "bytes=1000-"}
    assert requests.get(url, headers=wanted, timeout=10).status_code == 206
    upstreams.set_faults(Fault(kind="no_range", server="files"))
    answer = requests.get(url, headers=wanted, timeout=10)
    assert (answer.status_code, answer.content) == (200, DATA)


def test_ranges(upstreams: Upstreams, url: str) -> None:
    for header, start, stop in (("0-0", 0, 1), ("5-", 5, None), ("-7", -7, None), ("3-99999999", 3, None)):
        answer = requests.get(url, headers={"Range": f"bytes={header}"}, timeout=10)
        assert (answer.status_code, answer.content) == (206, DATA[start:stop])
    assert requests.get(url, headers={"Range": f"bytes={len(DATA)}-"}, timeout=10).status_code == 416
    stale = {"Range": "bytes=5-", "If-Range": '"another"'}
    assert requests.get(url, headers=stale, timeout=10).status_code == 200


def test_control_from_another_process(upstreams: Upstreams, url: str) -> None:
    control = Control(upstreams.url("control"))
    control.set_faults(Fault(kind="html", server="files", times=1))
    assert requests.get(url, timeout=10).text.startswith("<!doctype")
    control.set_faults()
    control.forget_requests()
    requests.get(url, headers={"Range": "bytes=0-99"}, timeout=10)
    assert control.bytes_sent(["files"]) == 100
    (entry,) = [entry for entry in control.requests() if entry["server"] == "files"]
    assert (entry["range"], entry["status"], entry["target"]) == ("bytes=0-99", 206, "/a.bin")
    bad = requests.put(f"{upstreams.url('control')}/faults", json=[{"kind": "none"}], timeout=10)
    assert bad.status_code == 400


def test_log_counts_what_was_sent_to_a_client_that_went_away(upstreams: Upstreams, url: str) -> None:
    (upstreams.folders.files / "large.bin").write_bytes(b"x" * 64_000_000)
    with requests.get(url.replace("a.bin", "large.bin"), stream=True, timeout=10) as answer:
        answer.raw.read(1_000_000)
    (entry,) = upstreams.log.read()
    assert 1_000_000 <= entry["sent"] < 64_000_000
