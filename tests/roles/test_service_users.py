"""Each service's user turns on its host: whatever it plants in its places, verbs end and nothing outside changes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tomlkit

from lab import locks
from lab.upstreams.repositories import publish
from lab.upstreams.service import Folders
from tests.faults.walking import put_trainer
from tests.light.fleet import LightFleet, running
from tests.roles.tricks import BUILD, DATA, LOOK, OTHER_TRICKS, OUTSIDE, PREPARE, RESUMED, TRICKS, VERBS, as_its_user
from tests.typed import Done

DOCS = Path(__file__).resolve().parents[2] / "docs/hardening.md"
EXTENSIONS = {"good": {"good.py": b"", "requirements.txt": b"idna\n"}, "plain": {"plain.py": b""}}
VERB_SECONDS = 90
CONFIG = 'name = "ink"\n[model]\ncheckpoint = "light"\n[data]\nfolder = "pictures"\n[train]\nsteps = 3\n'


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """One host with the light WebUI, two extensions, and a run that a stand-in trained."""
    folder = tmp_path_factory.mktemp("turned")
    with running(folder, hosts=1) as light:
        document = tomlkit.parse(light.file.read_text())
        document["webui"]["extensions"] = extensions = tomlkit.aot()
        for name, files in EXTENSIONS.items():
            bare = Folders(light.lab.folder.upstreams).git / f"sdfleet-lab/{name}.git"
            url, commit = f"https://github.com/sdfleet-lab/{name}", publish(bare, files, "one")
            extensions.append(tomlkit.item({"name": name, "url": url, "commit": commit}))
        light.file.write_text(tomlkit.dumps(document))
        # What an extension asks for is looked up with `packaging`, which every WebUI's own lock has.
        lock = locks.lock(light.lab, "idna==3.10\npackaging==24.2\n").read_text()
        (folder / "webui.lock.txt").write_text(lock)
        assert (done := light.sdfleet("lock")).code == 0, done.text
        assert (done := light.sdfleet("apply")).code == 0, done.text
        document["webui"]["ref"] = light.publish("good", 2)
        light.file.write_text(tomlkit.dumps(document))
        assert (done := light.sdfleet("apply")).code == 0, done.text
        put_trainer(light)
        # From here on h1 trains too; the trainer itself is a stand-in, which no apply may replace.
        text = light.file.read_text().replace('groups = ["webui"]', 'groups = ["webui", "train"]')
        light.file.with_name("train.toml").write_text(text)
        light.file.with_name("train.lock").write_text(light.file.with_suffix(".lock").read_text())
        (folder / "pictures/2_cat").mkdir(parents=True)
        (folder / "pictures/2_cat/1.png").write_bytes(bytes(2000))
        (folder / "ink.toml").write_text(CONFIG)
        done = light.sdfleet("train", "run", "ink.toml", "--name", "ink", "--fleet", "train.toml")
        assert done.code == 0, done.text
        light.on("h1", PREPARE)
        yield light


def type_verb(light: LightFleet, verb: str) -> Done:
    """How a verb ended that is typed; the test fails if it does not end, or shows what it must not."""
    fleet = ("--fleet", "train.toml") if verb.startswith("train ") else ()
    done = light.sdfleet(*verb.split(), *fleet, timeout=VERB_SECONDS)
    print(f"  {verb}: {done.code} in {done.seconds:.1f} s")
    assert "Traceback" not in done.text, done.text
    assert "root:" not in done.text, "what root alone may read was shown"
    return done


@pytest.mark.lab
def test_nothing_outside_changes_nothing_hangs_nothing_runs_and_an_apply_mends_it(light: LightFleet) -> None:
    """Wave after wave, each on what is left of the one before."""
    for wave in range(3):
        _turn(light, wave)
    _mend(light)


def _turn(light: LightFleet, wave: int) -> None:
    """Plant the tricks of a wave, type every verb, and clear the places."""
    print(f"wave {wave}:")
    tricks = [trick for trick in TRICKS if trick.wave == wave]
    before = light.on("h1", LOOK)
    light.change("built", webui={"ref": light.publish("good", 10 + wave)})
    for trick in tricks:
        light.on("h1", as_its_user(trick))
    try:
        for verb in (*VERBS, *(RESUMED if wave == 1 else ()), *BUILD, "rollback"):
            done = type_verb(light, verb)
            seen = light.on("h1", LOOK)
            assert seen == before, f"wave {wave}: {verb} changed what is outside, or ran what was planted"
        # The service's own user took away what the service needs (its models, its folders): no release can serve then.
        # What did not start in an earlier wave is not tried again unless it is named.
        print(done.text)
        refused = ("sdfleet-webui.service did not become ready: ", "No earlier release. Available: ")
        assert f"{0 if done.code else 1} of 1 host(s) rolled back" in done.text, done.text
        assert not done.code or any(sentence in done.text for sentence in refused), done.text
    finally:
        for trick in reversed(tricks):
            light.on("h1", trick.undo)
    shadow = [file for file in light.folder.joinpath("runs").rglob("*") if file.is_file() and _is_shadow(file)]
    assert not shadow, "a file that root alone may read was fetched"


def _is_shadow(file: Path) -> bool:
    return b"root:" in file.read_bytes()[:2000]


def _mend(light: LightFleet) -> None:
    """Afterwards an apply mends all of it."""
    samples = "/srv/sdfleet/runs/ink/samples"
    light.on("h1", "systemctl reset-failed; true")
    light.on("h1", f"mkdir -p {samples}; ln -sfn {OUTSIDE}/folder {samples}/deep")
    type_verb(light, "train remove ink")
    assert light.on("h1", f"ls /srv/sdfleet/runs; cat {OUTSIDE}/folder/file") == "untouched"
    # What somebody put into the place of the fleet's extension.
    there = f"{DATA}/extensions/good"
    light.on("h1", f"mkdir -p {there}; echo mine >{there}/settings.json")
    done = light.sdfleet("apply")
    assert done.code == 0, done.text
    again = light.sdfleet("apply")
    assert (again.code, again.cell("h1", "changed")) == (0, "0"), again.text
    serves = "/proc/$(systemctl show -P MainPID sdfleet-webui)/root"
    assert light.on("h1", f"ls {serves}{there}") == "good.py\nrequirements.txt", "the release's is what is served"
    assert light.on("h1", f"cat {there}/settings.json") == "mine", "nothing is lost"
    assert light.on("h1", f"cat {OUTSIDE}/file") == "untouched"


def test_the_docs_tell_of_each() -> None:
    text = DOCS.read_text()
    missing = [
        f"{trick.place}: {trick.trick}"
        for trick in (*TRICKS, *OTHER_TRICKS)
        if f"| `{trick.place}` | {trick.trick} |" not in text
    ]
    assert not missing
