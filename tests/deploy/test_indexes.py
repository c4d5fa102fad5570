"""`lock envs` runs no package's code, and takes an index's word only from its origin or from two that agree."""

import hashlib
import http.server
import io
import re
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.locks import envs, envs_check, indexes
from deploy.locks.consensus import DisagreementError, Endpoints, Witnesses
from deploy.locks.env_locks import EnvironmentLock
from inventory.errors import SdfleetError
from roles.gpu.torch_builds import TRAINER
from roles.mirrors.config import Mirrors

pytestmark = pytest.mark.slow

CU126 = next(torch for torch in TRAINER if torch.build == "cu126")
"""A build that the package index itself has."""


def wheel(name: str, version: str, *needs: str) -> tuple[str, bytes]:
    info = f"{name}-{version}.dist-info"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file, text in (("METADATA", "\n".join(lines) + "\n"), ("WHEEL", "Wheel-Version: 1.0\n"), ("RECORD", "")):
            archive.writestr(zipfile.ZipInfo(f"{info}/{file}", (1980, 1, 1, 0, 0, 0)), text)
    return f"{name}-{version}-py3-none-any.whl", packed.getvalue()


def source(name: str, version: str, proof: Path) -> tuple[str, bytes]:
    """A source archive whose build says that it ran."""
    code = f"open({str(proof)!r}, 'w')\nfrom setuptools import setup\nsetup(name={name!r}, version={version!r})\n"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        files = {"setup.py": code, "PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n"}
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return f"{name}-{version}.tar.gz", packed.getvalue()


@dataclass
class Index:
    """A package index on loopback."""

    url: str
    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    shut: bool = False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts indexes that have these files."""
    servers = []

    def started(*files: tuple[str, bytes]) -> Index:
        index = Index("", dict(files))

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                name = self.path.rstrip("/").rsplit("/", 1)[-1]
                content = index.files.get(name)
                if content is None and not index.shut:
                    links = [
                        f'<a href="/files/{file}#sha256={hashlib.sha256(data).hexdigest()}">{file}</a>'
                        for file, data in index.files.items()
                        if file.startswith(f"{name}-")
                    ]
                    content = "\n".join(links).encode() or None
                self.send_response(200 if content is not None and not index.shut else 404)
                self.send_header("Content-Type", "text/html" if not name.endswith((".whl", ".gz")) else "binary/octet")
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None: ...

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        index.url = f"http://127.0.0.1:{server.server_port}/simple"
        return index

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "1")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """The endpoints of each run of uv."""
    seen: list[Mapping[str, str]] = []
    real = indexes._compile

    def compile_over(question: indexes.Question, over: Mapping[str, str], before: str, more: Sequence[str]) -> str:
        seen.append(over)
        return real(question, over, before, more)

    monkeypatch.setattr(indexes, "_compile", compile_over)
    return seen


def wanted(requirements: str) -> EnvironmentLock:
    return EnvironmentLock("py3.11-cu126.txt", "a test", requirements, "3.11", CU126)


def test_a_package_without_a_wheel_is_locked_and_never_run(start: Any, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    index = start(wheel("good", "1.0"), source("evil", "2.0", proof))
    mirrors = Mirrors(pypi=(index.url,))
    with pytest.raises(SdfleetError, match=r"nothing is built here.*--source 'NAME") as told:
        envs.make(wanted("evil\n"), mirrors, tmp_path / "locks", Witnesses())
    assert "evil" in str(told.value) and not proof.exists()
    assert envs.make(wanted("evil\n"), mirrors, tmp_path / "locks", Witnesses(), {"evil": ("good>=1",)})
    assert not proof.exists()
    pins = indexes.pins_of((tmp_path / "locks/py3.11-cu126.txt").read_text())
    assert set(pins) == {("evil", "2.0"), ("good", "1.0")} and all(pins.values())
    assert index.asked


def test_one_mirror_is_believed_and_said_and_another_confirms_it(
    start: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = (wheel("good", "1.0", "more"), wheel("more", "3.0"))
    one, two = start(*files), start(*files)
    folder = tmp_path / "locks"
    assert envs.make(wanted("good\n"), Mirrors(pypi=(one.url,)), folder, Witnesses())
    assert f"only the mirror {one.url} answered" in capsys.readouterr().out
    file = folder / "py3.11-cu126.txt"
    before = file.read_text()
    assert f"# Asked: {one.url}\n" in before
    assert not envs.make(wanted("good\n"), Mirrors(pypi=(one.url, two.url)), folder, Witnesses())
    assert f"{one.url} and {two.url} agree" in capsys.readouterr().out
    assert file.read_text() == before, "another witness alone gives no host a new environment"
    assert envs_check.verified([folder], Mirrors(pypi=(one.url,)), print) == 1
    assert "nothing confirms it" in capsys.readouterr().out
    assert envs_check.verified([folder], Mirrors(pypi=(one.url, two.url)), print) == 0
    assert f"{two.url} says the same" in capsys.readouterr().out
    two.files = dict([wheel("good", "1.0", "more"), wheel("more", "3.0", "other")])
    two.files["other-1.0-py3-none-any.whl"] = wheel("other", "1.0")[1]
    assert envs_check.verified([folder], Mirrors(pypi=(one.url, two.url)), print) == 3
    assert f"{two.url} has other files of more" in capsys.readouterr().out


def test_two_mirrors_that_differ_make_no_lock(start: Any, tmp_path: Path) -> None:
    one, two = start(wheel("good", "1.0")), start(wheel("good", "1.0", "good"))
    with pytest.raises(DisagreementError, match="disagree"):
        envs.make(wanted("good\n"), Mirrors(pypi=(one.url, two.url)), tmp_path / "locks", Witnesses())
    assert not (tmp_path / "locks").exists()
    two.shut = True
    assert envs.make(wanted("good\n"), Mirrors(pypi=(one.url, two.url)), tmp_path / "locks", Witnesses())


SHUT = "http://127.0.0.1:9/simple"
"""Nothing listens there."""


def test_a_silent_index_costs_one_timeout_a_command(
    start: Any, tmp_path: Path, compiled: list[Mapping[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    index, witnesses, folder = start(wheel("good", "1.0")), Witnesses(), tmp_path / "locks"
    mirrors = Mirrors(pypi=(SHUT, index.url))
    for build in ("cu126", "cu128"):
        torch = next(torch for torch in TRAINER if torch.build == build)
        lock = EnvironmentLock(f"py3.11-{build}.txt", "a test", "good\n", "3.11", torch)
        assert envs.make(lock, mirrors, folder, witnesses)
    assert witnesses.silent == {SHUT}
    assert [over["pypi"] for over in compiled].count(SHUT) == 1
    compiled.clear()
    assert envs_check.verified([folder], mirrors, print) == 1
    assert [over["pypi"] for over in compiled].count(SHUT) == 1
    assert capsys.readouterr().out.count("could not be looked up again") == 2


def test_an_index_that_takes_connections_and_never_answers_is_silent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/simple"
        witnesses = Witnesses()
        with pytest.raises(SdfleetError, match="timed out") as told:
            envs.make(wanted("good\n"), Mirrors(pypi=(url,)), tmp_path, witnesses)
    assert witnesses.silent == {url} and "nothing is built" not in str(told.value)


def test_the_remark_on_builds_is_made_of_packages_without_a_wheel_alone(start: Any, tmp_path: Path) -> None:
    mirrors = Mirrors(pypi=(start(wheel("good", "1.0")).url,))
    with pytest.raises(SdfleetError, match="wheel was not found") as told:
        envs.make(wanted("wheel\n"), mirrors, tmp_path, Witnesses())
    assert "nothing is built" not in str(told.value)


def asked_for(places: Mapping[str, Sequence[str]], witnesses: Witnesses, answers: Mapping[str, str]) -> list[str]:
    """The endpoints of each question, the last of which has the answer. "silent" and "knows nothing" are no answers."""
    asked: list[str] = []

    def ask(over: Mapping[str, str]) -> str:
        asked.append("".join(over.values()))
        said = [answers.get(end, "") for end in over.values()]
        if silent := [end for end, what in zip(over.values(), said, strict=True) if what == "silent"]:
            raise indexes.SilentIndexError("timed out", silent)
        if "knows nothing" in said:
            raise SdfleetError("knows nothing")
        return "an answer"

    indexes.first_answer(places, witnesses, ask)
    return asked


def test_every_pair_of_indexes_is_tried_and_silent_ones_last() -> None:
    places = {"pypi": ("a", "b"), "torch": ("x", "y")}
    assert asked_for(places, Witnesses(), {"x": "knows nothing", "b": "knows nothing"}) == ["ax", "ay"]
    assert asked_for(places, Witnesses(), {"x": "knows nothing", "a": "knows nothing"}) == ["ax", "ay", "bx", "by"]
    witnesses = Witnesses()
    assert asked_for(places, witnesses, {"x": "silent", "a": "knows nothing"}) == ["ax", "ay", "by"]
    assert witnesses.silent == {"x"}
    assert asked_for(places, witnesses, {}) == ["ay"]
    assert asked_for(places, witnesses, {"y": "knows nothing"}) == ["ay", "by", "ax"] and not witnesses.silent
    with pytest.raises(SdfleetError, match=r"^a with x: timed out; b with y: knows nothing$"):
        asked_for(places, witnesses, {"a": "silent", "x": "silent", "y": "knows nothing"})


def test_a_lock_whose_name_has_no_python_version_is_not_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("")
    assert envs_check.verified([tmp_path], Mirrors(), print) == 1
    said = "mine.txt: not verified: its name has no Python version (such as py3.11-)\n"
    assert capsys.readouterr().out == said


def test_the_origin_is_asked_first_and_needs_no_second(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar, origin = start(wheel("good", "1.0", "good")), start(wheel("good", "1.0"))
    mirrors = Mirrors(pypi=(liar.url, origin.url))
    real = indexes.endpoints_of

    def known(build: str, mirrors: Mirrors) -> dict[str, Endpoints]:
        return {kind: Endpoints(kind, place.urls, (origin.url,)) for kind, place in real(build, mirrors).items()}

    monkeypatch.setattr(indexes, "endpoints_of", known)
    assert envs.make(wanted("good\n"), mirrors, tmp_path / "locks", Witnesses())
    assert f"# Asked: {origin.url}\n" in (tmp_path / "locks/py3.11-cu126.txt").read_text()
    assert not liar.asked


def test_mirrors_whose_files_differ_from_those_of_the_lock_are_named(start: Any, tmp_path: Path) -> None:
    other = wheel("good", "1.0", "missing")
    one, two, three = start(other), start(other), start(wheel("good", "1.0"))
    said = f"{three.url} and {one.url}, {two.url} have different files of good; ask the origin, or remove the wrong one"
    with pytest.raises(DisagreementError, match=re.escape(said)):
        envs.make(wanted("good\n"), Mirrors(pypi=(one.url, two.url, three.url)), tmp_path, Witnesses())
    assert not list(tmp_path.glob("*.txt"))


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text('[fleet]\nname = "s"\n[hosts.a]\naddress = "local"\ngroups = []\n')
    done = CliRunner().invoke(app, ["lock", "envs", "--fleet", str(file), "--source", "../x: y"])
    assert done.exit_code == 1 and "is not NAME: REQUIREMENT" in f"{done.output}{done.exception}"
    done = CliRunner().invoke(app, ["lock", "envs", "--fleet", str(file), "--verify"])
    assert done.exit_code == 1 and "no lock to verify" in f"{done.output}{done.exception}"
