"""Notes and picture beside a model: from Civitai to the WebUI's folder, once."""

import json
from pathlib import Path

import pytest

from lab.upstreams.service import Upstreams
from roles.mirrors.config import Mirrors
from roles.models.config import Model
from roles.models.request import manifest
from roles.models.sources import resolve
from roles.models.sources.civitai import Version, card
from roles.models.sources.web import HubClient
from roles.models.state import StoreContents, parse_store
from roles.models.wanted import wanted
from roles.paths import Paths
from tests import upstreams as stand_ins
from tests.roles.models.conftest import Fetcher, model
from tests.roles.models.printed import printed

PICTURE = b"\x89PNG\r\n\x1a\n and so on"


@pytest.mark.slow
@pytest.mark.parametrize("picture", [PICTURE, b"<html>", None], ids=["picture", "no picture", "gone"])
def test_a_new_model_gets_notes_and_a_picture(picture: bytes | None, fetcher: Fetcher, tmp_path: Path) -> None:
    with stand_ins.running(tmp_path / "upstreams") as upstreams:
        goal, paths, roads = pinned(upstreams, tmp_path, picture)
        done = fetcher.run_text(manifest(goal, StoreContents(), paths, roads, {}))
        assert (done.status, done.errors) == (0, [])
        folder = tmp_path / "data/webui/models/Lora"
        notes, preview = folder / "ink.json", folder / "ink.preview.png"
        assert json.loads(notes.read_text()) == {
            "description": "https://civitai.com/models/1007?modelVersionId=7",
            "sd version": "SD1",
            "activation text": "ink wash, brush",
        }
        assert preview.exists() == (picture == PICTURE)
        notes.write_text("edited by a person")
        assert fetcher.run_text(manifest(goal, StoreContents(), paths, roads, {})).status == 0
        assert notes.read_text() == "edited by a person"


def pinned(upstreams: Upstreams, root: Path, picture: bytes | None):  # type: ignore[no-untyped-def]
    """Desired state, paths and roads of a LoRA whose page has words and two pictures."""
    if picture is not None:
        stand_ins.put_on_web(upstreams, "ink.png", picture)
    shown = [
        {"url": "https://example.org/adult.png", "nsfwLevel": 16, "type": "image"},
        {"url": f"{upstreams.url('files')}/ink.png", "nsfwLevel": 1, "type": "image"},
    ]
    stand_ins.put_on_civitai(
        upstreams, 7, "ink.safetensors", model(1), images=shown, trainedWords=["ink wash", "brush"]
    )
    roads = Mirrors.model_validate({"civitai": [upstreams.url("civitai")]})
    locked = resolve(Model(name="ink", kind="lora", source="civitai:7"), HubClient(roads, {}))
    paths = Paths.model_validate({"root": str(root)})
    return wanted([locked], paths, roads), paths, roads


def test_pictures_for_adults_and_films_are_left_out() -> None:
    urls = [f"https://pictures.example/{name}" for name in "abc"]
    images = [{"url": urls[0], "nsfwLevel": 2}, {"url": urls[1], "nsfwLevel": 1, "type": "video"}, {"url": urls[2]}]
    told = card(Version.model_validate({"id": 7, "modelId": 3, "images": images, "baseModel": "Pony"}))
    assert (told.preview, told.version) == ("", "SDXL")


def test_notes_and_pictures_are_no_strangers() -> None:
    folder = Paths().data("webui") / "models/Lora"
    blob = Paths().blob("ab" * 32)
    lines = [f"l 90 {folder}/ink.safetensors\t{blob}", f"f 7 {folder}/ink.json\t", f"f 7 {folder}/ink.preview.png\t"]
    assert parse_store(printed(lines), Paths()).unmanaged == {}
    assert set(parse_store(printed(lines[1:]), Paths()).unmanaged) == {folder / "ink.json", folder / "ink.preview.png"}
