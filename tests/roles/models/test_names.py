"""What a mirror or a lock calls things cannot lead out of the folders of models, on the controller or on a host."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from inventory import lock as locks
from inventory.errors import ConfigError
from roles.mirrors.config import Mirrors
from roles.models.config import CLIP, LockedModel, Model, Pin
from roles.models.sources import resolve
from roles.models.sources.web import HubClient, SourceError
from roles.models.wanted import WantedError, wanted
from roles.names import file_path, revision
from roles.paths import Paths
from tests.roles.models.conftest import Fetcher, content, digest
from tests.roles.models.conftest import wanted as entry
from tests.roles.models.origin import Origin

COMMIT = "cd" * 20
LEADING_OUT = [
    "../../../etc/cron.d/x",
    "/etc/cron.d/x",
    "a/../../x",
    "a//x",
    "./x",
    "",
    "a\nb",
    "a\x1b]52;c;x\x07",
    "a\0",
]


@pytest.mark.parametrize("path", [*LEADING_OUT, "a\\..\\b", "x" * 300, "a\u202eb"])
def test_a_path_that_leads_out_is_none(path: str) -> None:
    with pytest.raises(ValueError, match="is no "):
        file_path(path)


@pytest.mark.parametrize("path", ["config.json", "unet/model.safetensors", ".gitattributes", "水墨 v2.safetensors"])
def test_usual_paths_are_kept(path: str) -> None:
    assert file_path(path) == path


@pytest.mark.parametrize("text", ["../x", "a/../b", "-x", "a b", "a\n", "/x", "a//b"])
def test_a_revision_that_leads_out_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no revision"):
        revision(text)


@contextmanager
def answering(answers: dict[str, Any]) -> Iterator[str]:
    """A hub that answers with this JSON, whatever is asked below each path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = next((text for path, text in answers.items() if self.path.startswith(path)), None)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


HUB: dict[str, Any] = {
    "a path that leads out": {"sha": COMMIT, "siblings": [{"rfilename": "../../../../etc/cron.d/x.json"}]},
    "an absolute path": {"sha": COMMIT, "siblings": [{"rfilename": "/etc/cron.d/x.json"}]},
    "a revision that leads out": {"sha": "../../../../../etc", "siblings": [{"rfilename": "x.json"}]},
    "no revision": {"siblings": [{"rfilename": "x.json"}]},
    "a list": [],
    "deep nesting": b"[" * 100_000,
    "a number for a name": {"sha": COMMIT, "siblings": [{"rfilename": 7}]},
    "siblings of another shape": {"sha": COMMIT, "siblings": {"rfilename": "x"}},
}
SCOPE: dict[str, Any] = {
    "a path that leads out": {"Success": True, "Data": {"Files": [{"Path": "../x", "Type": "blob", "Size": 1}]}},
    "a revision that leads out": {
        "Success": True,
        "Data": {"Files": [{"Path": "x.safetensors", "Type": "blob", "Size": 1, "Revision": "../../x"}]},
    },
    "no list": {"Success": True},
    "a size that is none": {"Success": True, "Data": {"Files": [{"Path": "x", "Type": "blob", "Size": -1}]}},
}
CIVITAI: dict[str, Any] = {
    "a name that leads out": {"id": 7, "files": [{"id": 1, "name": "../x.safetensors", "primary": True}]},
    "an id that is none": {"id": 7, "files": [{"id": "1&x=../..", "name": "x.safetensors", "primary": True}]},
    "no files": {"id": 7},
    "a list": [],
}


@pytest.mark.parametrize("case", HUB)
def test_a_hub_cannot_choose_places(case: str) -> None:
    model = Model(name="clip", kind="hub", source="hf:openai/clip", files=("*.json",))
    with answering({"/api/models/": HUB[case]}) as url, pytest.raises(SourceError) as caught:
        resolve(model, HubClient(Mirrors(huggingface=(url,)), {}))
    assert "\x1b" not in str(caught.value)
    assert url in str(caught.value)


@pytest.mark.parametrize("case", SCOPE)
def test_modelscope_cannot_choose_places(case: str) -> None:
    model = Model(name="ink", kind="lora", source="modelscope:studio/ink/x.safetensors")
    with answering({"/api/": SCOPE[case]}) as url, pytest.raises(SourceError):
        resolve(model, HubClient(Mirrors(modelscope=(url,)), {}))


@pytest.mark.parametrize("case", CIVITAI)
def test_civitai_cannot_choose_places(case: str) -> None:
    with answering({"/api/": CIVITAI[case]}) as url, pytest.raises(SourceError):
        resolve(Model(name="ink", kind="lora", source="civitai:7"), HubClient(Mirrors(civitai=(url,)), {}))


def test_a_bad_answer_sends_the_question_to_the_next_mirror() -> None:
    model = Model(name="clip", kind="hub", source="hf:openai/clip", files=("x.json",))
    good = {"sha": COMMIT, "siblings": [{"rfilename": "x.json"}]}
    with answering({"/api/": HUB["a path that leads out"]}) as bad, answering({"/api/": good, "/": {}}) as second:
        locked = resolve(model, HubClient(Mirrors(huggingface=(bad, second)), {}))
    assert [pin.path for pin in locked.pins] == ["x.json"]


def test_a_commit_asked_for_is_the_commit_answered() -> None:
    model = Model(name="clip", kind="hub", source=f"hf:openai/clip@{'ab' * 20}", files=("x.json",))
    good = {"sha": COMMIT, "siblings": [{"rfilename": "x.json"}]}
    with answering({"/api/": good, "/": {}}) as url, pytest.raises(SourceError, match="answers with"):
        resolve(model, HubClient(Mirrors(huggingface=(url,)), {}))


@pytest.mark.parametrize(
    ("change"),
    [
        {"files": [{"path": "../../../etc/cron.d/x", "url": "https://huggingface.co/x", "sha256": "ab" * 32}]},
        {"files": [{"path": "x", "url": "https://huggingface.co/x\nHost: y", "sha256": "ab" * 32}]},
        {"files": [{"path": "x", "url": "gopher://huggingface.co/x", "sha256": "ab" * 32}]},
        {"revision": "../../../etc"},
    ],
)
def test_a_lock_that_leads_out_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    pin: dict[str, Any] = {"source": "hf:openai/clip", "revision": COMMIT, "files": []}
    lock = {"version": 1, "models": {"hub/clip": pin | change}}
    (tmp_path / "fleet.lock").write_text(json.dumps(lock))
    with pytest.raises(ConfigError, match="is damaged"):
        locks.read(tmp_path / "fleet.toml")


def test_a_revision_of_the_lock_that_is_no_commit_becomes_no_folder() -> None:
    pin = Pin(path="x.json", url="https://huggingface.co/x.json", sha256="ab" * 32)
    locked = LockedModel(**CLIP.model_dump(), revision="main", pins=(pin,))
    with pytest.raises(WantedError, match="is no commit"):
        wanted([locked], Paths(), Mirrors())


@pytest.mark.parametrize("kind", ["links", "texts", "cards", "unlink"])
@pytest.mark.parametrize("place", ["{folder}-not/x", "{folder}/../outside", "{folder}"])
def test_a_host_refuses_places_outside_whatever_it_is_told(
    kind: str, place: str, fetcher: Fetcher, origin: Origin, tmp_path: Path
) -> None:
    data = content(1)
    folder = tmp_path / "models"
    folder.mkdir()
    where = place.format(folder=folder)
    value: Any = {"links": {where: digest(data)}, "texts": {where: "x"}, "cards": {where: {}}, "unlink": [where]}[kind]
    done = fetcher.run(entry(data, origin.serve("/1", data)), **{"folders": [str(folder)], kind: value})
    assert done.status == 2
    assert "outside the folders of models" in done.errors[0]
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "models-not").exists()
    assert fetcher.final_names() == []
