"""Names and records that a host tells are never paths out of the folder where they belong."""

import json
import os
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.connection.ssh import HostError, Remote
from deploy.runs import reproduce
from deploy.runs.publish import result
from deploy.runs.transfer import RunHost
from inventory.errors import SdfleetError
from inventory.load import load
from roles.onhost import files, turn_state
from training.run import record_format

SHA256 = "ab" * 32


def host_that_says(answer: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunHost:
    file = tmp_path / "fleet.toml"
    file.write_text('[fleet]\nname = "s"\n[hosts.a]\naddress = "local"\ngroups = []\n')
    monkeypatch.setattr(Remote, "call", lambda *_, **__: answer)
    return RunHost(Remote(load(file).hosts["a"], tmp_path / "none"))


BAD_NAMES = ["../../.bashrc", "/etc/passwd", "output/../../x", "", ".", "a\0b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_file_that_leads_out_of_a_run_is_not_fetched(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunHost, "download", lambda *_: pytest.fail("it was fetched"))
    host = host_that_says({name: {"sha256": SHA256, "size": 1}}, tmp_path, monkeypatch)
    with pytest.raises(HostError, match="a: the list of ink's files is damaged"):
        host.fetch("ink", tmp_path / "runs/ink")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("size", [-(10**15), "5", 1.5, None])
def test_a_size_that_is_none_makes_no_room_for_others(
    size: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"a": {"sha256": SHA256, "size": size}, "b": {"sha256": SHA256, "size": 10**15}}
    with pytest.raises(HostError, match="a: the list of ink's files is damaged"):
        host_that_says(answer, tmp_path, monkeypatch).fetch("ink", tmp_path / "runs/ink")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({f"samples/{number}.png": 1 for number in range(20_001)}, "it has more than 20000 files or 500 GB"),
        ({"output/a.safetensors": 10**15}, "it has more than 20000 files or 500 GB"),
        ({f"output/{number}.safetensors": 8 * 10**9 for number in range(60)}, "make room, or choose another folder"),
    ],
)
def test_what_would_fill_this_machine_is_not_fetched(
    files: dict[str, int], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunHost, "download", lambda *_: pytest.fail("it was fetched"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=400 * 10**9))
    answer = {name: {"sha256": SHA256, "size": size} for name, size in files.items()}
    with pytest.raises(HostError, match=told):
        host_that_says(answer, tmp_path, monkeypatch).fetch("ink", tmp_path / "runs/ink")


GB = 10**9
ROOM = {
    "nothing is to come": ({"a": (5 * GB, 5 * GB, 0)}, 900_000, True),
    "a small file is to come": ({"a": (5_000_000, 0, 0)}, 900_000_000, True),
    "most has come": ({"a": (6 * GB, 0, 5_900_000_000)}, 3 * GB, True),
    "it just fits": ({"a": (6 * GB, 0, 0)}, 7 * GB, True),
    "it would leave too little": ({"a": (6 * GB, 0, 0)}, 6_900_000_000, False),
    "the part is of another file": ({"a": (1 * GB, 0, 9 * GB), "b": (3 * GB, 0, 0)}, 3_900_000_000, False),
    "another file has its name": ({"a": (6 * GB, 5 * GB, 0)}, 6_900_000_000, False),
}
"""Size on the host, here, and of the part that is here, for each file -> bytes that are free, and whether it fits."""


@pytest.mark.parametrize("case", ROOM)
def test_only_what_is_to_come_needs_room(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, free, fits = ROOM[case]
    fetched: list[str] = []
    monkeypatch.setattr(RunHost, "download", lambda _, source, *rest: fetched.append(source.name))
    monkeypatch.setattr("deploy.runs.transfer.sha256_of", lambda file: SHA256)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    for name, (_, here, part) in files.items():
        for file, size in ((tmp_path / name, here), (tmp_path / f"{name}.part", part)):
            if size:
                with file.open("wb") as stream:
                    stream.truncate(size)
    answer = {name: {"sha256": SHA256, "size": size} for name, (size, _, _) in files.items()}
    host = host_that_says(answer, tmp_path, monkeypatch)
    if not fits:
        with pytest.raises(
            HostError, match=r"is still to be downloaded, but .* free, of which 1\.0 GB must stay free; make"
        ):
            host.fetch("ink", tmp_path)
    else:
        assert host.fetch("ink", tmp_path) == [tmp_path / name for name in files]
        assert fetched == [name for name, (size, here, _) in files.items() if size != here]


def test_a_file_that_is_too_large_is_named_and_the_others_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched: list[PurePosixPath] = []
    monkeypatch.setattr(RunHost, "download", lambda _, source, *rest: fetched.append(source))
    answer = {"output/big": {"sha256": None, "size": 9 * 10**9}, "run.json": {"sha256": SHA256, "size": 5}}
    host_that_says(answer, tmp_path, monkeypatch).fetch("ink", tmp_path / "runs/ink")
    assert [source.name for source in fetched] == ["run.json"]
    assert "a: output/big of ink is not fetched: it has 9.0 GB, 8.0 GB at most" in capsys.readouterr().err


def test_a_host_that_sends_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_that_says({}, tmp_path, monkeypatch)
    endless = ["sh", "-c", "cat >/dev/null; exec cat /dev/zero"]
    monkeypatch.setattr(Remote, "argv", lambda *_: endless)
    with pytest.raises(HostError, match="sends more than the 1000 bytes it promised"):
        host.download(PurePosixPath("/x"), tmp_path / "x", SHA256, 1000)
    assert not (tmp_path / "x").exists()
    assert (tmp_path / "x.part").stat().st_size <= 1000
    monkeypatch.setattr("deploy.connection.ssh.LARGEST_ANSWER", 5_000_000)
    with pytest.raises(HostError, match="has more than 5 MB"):
        host.remote.run(["true"])


@pytest.mark.parametrize(
    "answer",
    [
        *({name: SHA256} for name in BAD_NAMES),
        {"data.0/a.png": "../../../../tmp/x"},
        {"data.0/a.png": ["ab"]},
        ["data.0/a.png"],
        7,
    ],
)
def test_inputs_that_lead_elsewhere_reach_no_other_host(
    answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_that_says(answer, tmp_path, monkeypatch)
    with pytest.raises(HostError, match="a: the list of ink's files is damaged"):
        host.inputs("ink")


def record(folder: Path, **facts: object) -> Path:
    (folder / "output").mkdir(parents=True, exist_ok=True)
    told = {"format": record_format.FORMAT, "ended": {"how": "finished"}, "file": "ink.safetensors", "sha256": SHA256}
    (folder / "run.json").write_text(json.dumps({**told, **facts}))
    return folder


BAD_RECORDS: list[dict[str, object]] = [
    {"file": "../../secret"},
    {"file": "/etc/passwd"},
    {"file": ".."},
    {"file": "a\0b"},
    {"file": ["x"]},
    {"ended": "finished"},
    {"ended": {"why": 1}},
    {"sha256": 7},
]


@pytest.mark.parametrize("facts", BAD_RECORDS)
def test_a_record_that_names_a_file_elsewhere_is_none(facts: dict[str, object], tmp_path: Path) -> None:
    folder = record(tmp_path / "ink", **facts)
    assert record_format.read_record(folder / "run.json") is None
    with pytest.raises(SdfleetError, match="its record is damaged"):
        reproduce.record_of(folder)
    (tmp_path / "secret").write_bytes(b"mine")
    with pytest.raises(SdfleetError, match="does not say which file is its result"):
        result(folder, "finished", None)


def test_a_nested_or_huge_record_is_none(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[" * 200_000)
    assert record_format.read_record(tmp_path / "run.json") is None
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(4 << 40)
    assert record_format.read_record(tmp_path / "run.json") is None


def test_a_record_has_the_same_limit_here_and_on_hosts(tmp_path: Path) -> None:
    assert (record_format.LARGEST, record_format.MOST_VALUES) == (turn_state.LARGEST_RECORD, files.MOST_VALUES)
    head = f'{{"format": {record_format.FORMAT}, "more": ['
    for values, read in ((record_format.MOST_VALUES - 2, True), (record_format.MOST_VALUES - 1, False)):
        (tmp_path / "run.json").write_text(head + ",".join(["1"] * values) + "]}")
        assert bool(record_format.read_record(tmp_path / "run.json")) == read
        assert bool(files.json_object((tmp_path / "run.json").read_bytes())) == read


def test_a_record_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A run that somebody passed on can hold anything."""
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        assert record_format.read_record(place) is None


@pytest.mark.parametrize("facts", [{}, {"config": 7, "machine": []}, {"inputs": {"x": 1}}])
def test_records_of_another_shape_are_a_sentence(facts: dict[str, object], tmp_path: Path) -> None:
    one, two = record(tmp_path / "one", **facts), record(tmp_path / "two", **facts)
    with pytest.raises(SdfleetError, match="its record is damaged"):
        reproduce.judge(one, two)
