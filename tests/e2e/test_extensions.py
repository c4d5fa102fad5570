"""Extensions on a real host: they come and go with the release, a bad one is left, and old checkouts are taken over."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from lab.upstreams.repositories import publish
from lab.upstreams.service import Folders
from roles.programs import command
from tests.light import fleet
from tests.light.fleet import ROOT, LightFleet
from tests.typed import Done

pytestmark = pytest.mark.lab

REPOSITORY = "sdfleet-lab/extension"
URL = f"https://github.com/{REPOSITORY}.git"
SHOWN = f"{ROOT}/data/webui/extensions"
LOADED = "curl -sS http://127.0.0.1:7860/sdapi/v1/extensions"
GOOD = "from pathlib import Path\nplace = Path(__file__).parents[1] / 'settings.json'\n"
GOOD += "SAYS = place.read_text() if place.exists() else 'nothing'\n"
CRASH = "import os\nos._exit(3)\n"
FAILS = "def process():\n    raise RuntimeError('the extension is broken')\n"


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """One host with the light WebUI, after a first apply."""
    with fleet.running(tmp_path_factory.mktemp("extensions"), 1) as running:
        yield running


def with_extension(light: LightFleet, script: str) -> Path:
    """A fleet.toml with an extension of that script."""
    repository = Folders(light.lab.folder.upstreams).git / f"{REPOSITORY}.git"
    commit = publish(repository, {"scripts/it.py": script.encode()}, "a version")
    return light.change("extended", webui={"extensions": [{"name": "ext", "url": URL, "commit": commit}]})


@dataclass(frozen=True)
class Taken:
    """How a checkout of before was taken over."""

    done: Done
    loaded: str
    again: Done
    drift: Done
    status: Done


@pytest.fixture(scope="module")
def taken(light: LightFleet) -> Taken:
    """The host has an extension, with somebody's settings, and another that is nobody's."""
    file = with_extension(light, GOOD)
    text = file.read_text()
    commit = text.partition('commit = "')[2][:40]
    # As the sdfleet of before left it: a checkout in the data folder, and somebody's settings beside its files.
    words = ("--store", f"{ROOT}/cache/git", "--url", URL, "--commit", commit, "--tree", f"{SHOWN}/ext")
    light.on("h1", shlex.join(command(PurePosixPath(ROOT, "tools/onhost.pyz"), "pinned_checkout", *words)))
    light.on("h1", f"printf mine >{SHOWN}/ext/settings.json; mkdir {SHOWN}/theirs; touch {SHOWN}/theirs/file")
    done = light.sdfleet("apply", "--fleet", str(file))
    assert done.code == 0, done.text
    loaded = light.on("h1", LOADED)
    again, drift, status = (light.sdfleet(verb, "--fleet", str(file)) for verb in ("apply", "drift", "status"))
    return Taken(done, loaded, again, drift, status)


def test_an_extension_of_before_is_taken_over_with_its_settings(taken: Taken) -> None:
    assert taken.loaded == '[{"name": "ext", "says": "mine"}]'
    assert taken.again.code == 0 and taken.drift.code == 0, taken.again.text
    assert "extensions installed by hand, left alone: theirs" in taken.status.text


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(("script", "said"), [(CRASH, "ended with status 3"), (FAILS, "the extension is broken")])
def test_a_bad_extension_leaves_the_old_release_serving(light: LightFleet, script: str, said: str) -> None:
    before = light.release("h1")
    file = with_extension(light, script)
    done = light.sdfleet("update", "--locked", "--fleet", str(file))
    assert done.code == 1 and said in done.text, done.text
    assert light.release("h1") == before
    assert light.on("h1", LOADED) == '[{"name": "ext", "says": "mine"}]'


@pytest.mark.usefixtures("taken")
def test_an_extension_that_is_taken_out_goes_and_comes_back_with_a_rollback(light: LightFleet) -> None:
    before = light.release("h1")
    done = light.sdfleet("apply")
    assert done.code == 0, done.text
    assert light.on("h1", LOADED) == "[]"
    assert light.on("h1", f"ls {SHOWN}") == "theirs"
    assert light.on("h1", f"cat {ROOT}/data/webui/extensions-kept/ext/settings.json") == "mine"
    assert light.sdfleet("drift").code == 0
    back = light.sdfleet("rollback")
    assert back.code == 0 and light.release("h1") == before, back.text
    assert light.on("h1", LOADED) == '[{"name": "ext", "says": "mine"}]'
