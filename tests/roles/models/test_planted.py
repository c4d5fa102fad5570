"""The fetching program in folders where a service has planted links."""

from pathlib import Path

import pytest

from deploy.onhost import published
from tests.roles.models.conftest import Fetcher, digest, model, wanted
from tests.roles.models.origin import Origin

INK = model(3, 2000)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nothing may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("untouched")
    return folder


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    """The WebUI's Lora folder, whose parents the WebUI can write too."""
    folder = tmp_path / "data/webui/models/Lora"
    folder.mkdir(parents=True)
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o775)
    return folder


def untouched(outside: Path) -> bool:
    return [(file.name, file.read_text()) for file in outside.iterdir()] == [("file", "untouched")]


def test_links_under_the_names_of_unfinished_files_are_not_written_through(
    fetcher: Fetcher, origin: Origin, loras: Path, outside: Path
) -> None:
    link = loras / "ink.safetensors"
    for name in (".ink.json.sdfleet-new", ".ink.safetensors.sdfleet-new", ".ink.preview.png.sdfleet-new"):
        (loras / name).symlink_to(outside / "file")
    url = origin.serve("/ink.safetensors", INK)
    card = {"notes": "{}", "preview": origin.serve("/ink.png", b"\x89PNG and so on")}
    done = fetcher.run(wanted(INK, url, suffix=".safetensors"), links={str(link): digest(INK)}, cards={str(link): card})
    assert done.status == 0, done.errors
    assert untouched(outside)
    assert link.readlink() == fetcher.blob(INK) and (loras / "ink.json").read_text() == "{}"


@pytest.mark.parametrize("above", ["models/Lora", "models"])
def test_a_folder_that_became_a_link_is_refused(
    fetcher: Fetcher, origin: Origin, loras: Path, outside: Path, above: str
) -> None:
    webui = loras.parents[1]
    (webui / above).rename(webui / "was")
    (webui / above).symlink_to(outside)
    done = fetcher.run(
        wanted(INK, origin.serve("/ink.safetensors", INK)), links={str(loras / "ink.safetensors"): digest(INK)}
    )
    assert done.status == 1 and untouched(outside)
    assert "is a link that a service may have made; it is not followed" in done.errors[-1]


@pytest.mark.parametrize("planted", [".cats.safetensors.new", ""])
def test_publishing_goes_through_no_planted_link(tmp_path: Path, loras: Path, outside: Path, planted: str) -> None:
    store = tmp_path / "store"
    store.mkdir()
    arrived = store / ".incoming-ink"
    arrived.write_bytes(INK)
    if planted:
        (loras / planted).symlink_to(outside / "file")
    else:
        loras.rmdir()
        loras.symlink_to(outside)
    answer = published.main(
        run="ink",
        sha256=digest(INK),
        incoming=str(arrived),
        blob=str(store / "blob"),
        link=str(loras / "cats.safetensors"),
        manifest=str(store / "published.json"),
        ports={"webui": 1},
    )
    assert untouched(outside)
    assert "error" in answer if not planted else answer["changed"], answer
