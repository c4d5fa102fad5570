"""What each application that draws makes of a published LoRA: asked on the host, told to people, kept in the report."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from deploy.connection.ssh import HostError, Remote
from deploy.onhost import drawn as onhost
from deploy.runs import drawn, report, train
from deploy.runs.drawn import Drawn
from inventory.load import load
from inventory.model import HostSettings
from roles.onhost import gpus, services
from roles.onhost.lora_pictures import Order
from tests.deploy.drawing_servers import Drawing, running
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_emergency import run_on
from tests.deploy.test_report import make_run

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

CHANGES = 60 / 3
"""One of three channels differs by 60."""
UNREAD = ["got prompt", "lora key not loaded: x.alpha", "lora key not loaded: x.alpha", "lora key not loaded: x.up"]


class Place:
    """A host that is this machine, and a fetched run whose LoRA was published there."""

    def __init__(self, folder: Path, webui: Drawing, comfyui: Drawing) -> None:
        self.webui, self.comfyui, self.folder = webui, comfyui, make_run(folder / "ink")
        fleet = folder / "fleet.toml"
        fleet.write_text(
            f'[fleet]\nname = "x"\ndata_root = "/srv/x"\n[hosts.h1]\naddress = "h1"\ngroups = ["webui", "comfyui"]\n'
            f"webui.port = {webui.port}\ncomfyui.port = {comfyui.port}\n"
        )
        self.host: HostSettings = load(fleet).hosts["h1"]
        self.answer: Any = None
        record = json.loads((self.folder / "run.json").read_text())
        model, sample = {"checkpoint": "/srv/x/sd15.safetensors"}, {"prompts": ["a cat --n blurry --w 512"]}
        self.record = record | {"config": {"model": model, "sample": sample}}
        (self.folder / "run.json").write_text(json.dumps(self.record))
        (self.folder / "ink.safetensors").write_bytes(b"weights")

    name = "h1"

    def call(self, module: ModuleType, *, timeout: float, **values: object) -> Any:
        """As Remote.call."""
        given = json.loads(json.dumps(values))
        return self.answer or json.loads(json.dumps(module.main(**given)))

    def order(self) -> Order:
        """What is to be drawn."""
        return drawn.order(self.folder, "ink", self.folder / "ink.safetensors")

    def draw(self, roles: Sequence[str] = ("webui", "comfyui")) -> list[Drawn]:
        """As `train publish` does."""
        found = drawn.draw(cast(Remote, self), roles, self.order(), self.folder)
        drawn.note(self.folder, found)
        return found

    def told(self) -> list[str]:
        """What it says of that."""
        return [line.plain for one in self.draw() for line in (*drawn.told(one), *drawn.warnings(one))]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], Place]]:
    """Makes one, without a GPU and without trainings, whose applications apply LoRAs or ignore them."""
    monkeypatch.setattr(services, "is_active", lambda unit: True)
    monkeypatch.setattr(services, "manager", lambda: SimpleNamespace(lines_of_start=lambda *_: None))
    monkeypatch.setattr(onhost, "active_units", list)
    monkeypatch.setattr(gpus, "rows", lambda *fields: [])
    with ExitStack() as stack:

        def make(applies: bool) -> Place:
            return Place(tmp_path, *(stack.enter_context(running(applies)) for _ in range(2)))

        yield make


@pytest.mark.parametrize("applies", [True, False])
def test_each_draws_without_with_and_at_weight_0_on_the_runs_own_model(
    place: Callable[[bool], Place], applies: bool
) -> None:
    there = place(applies)
    for one in there.draw():
        assert (one.said, one.applies, one.changes_at_zero) == ("", applies, 0)
        assert one.changes == (CHANGES if applies else 0)
        assert "sub/sd15.safetensors" in one.checkpoint and one.prompt == "a cat"
    assert [order["prompt"] for order in there.webui.asked] == ["a cat", "a cat <lora:ink:1>", "a cat <lora:ink:0>"]
    loras = [order.get("8", {"inputs": {}})["inputs"] for order in there.comfyui.asked]
    assert [(each.get("lora_name"), each.get("strength_model"), each.get("strength_clip")) for each in loras] == [
        (None, None, None),
        ("ink.safetensors", 1.0, 1.0),
        ("ink.safetensors", 0.0, 0.0),
    ]


def test_people_are_told_and_the_report_shows_it(place: Callable[[bool], Place]) -> None:
    there = place(True)
    applies = "applies it: the picture changes by 20.0 of 255, at weight 0 by 0.0"
    assert there.told() == [f"h1 WebUI {applies}", f"h1 ComfyUI {applies}"]
    text = report.write(there.folder).read_text()
    assert "As each application draws it" in text and text.count("weight 1: 20.0 of 255") == 2
    assert text.count("data:image/png;base64,") == 6 + 6 and "<script" not in text
    there.draw()
    assert len(drawn.known(there.folder)) == 2, "drawn again, it is told once"
    ignored = replace(drawn.known(there.folder)[0], changes=0.0)
    drawn.note(there.folder, [ignored])
    assert report.write(there.folder).read_text().count("ignores it") == 1


def test_one_that_ignores_the_file_is_named(place: Callable[[bool], Place], monkeypatch: pytest.MonkeyPatch) -> None:
    there = place(False)
    monkeypatch.setattr(services, "manager", lambda: SimpleNamespace(lines_of_start=lambda *_: UNREAD))
    same = "ignores it: the picture is the same with it and without"
    assert there.told() == [
        f"warning h1: WebUI {same}",
        f"warning h1: ComfyUI {same}",
        "warning h1: ComfyUI did not read 2 of its keys, such as x.alpha",
    ]
    assert "it did not read 2 of its keys" in report.write(there.folder).read_text().replace("\n", " ")


@pytest.mark.parametrize("loaded", ["used.safetensors [abc]", "used.safetensors"], ids=["WebUI", "Forge Neo"])
def test_another_model_is_named_where_the_runs_own_is_not_there(loaded: str, place: Callable[[bool], Place]) -> None:
    there = place(False)
    there.webui.models = there.comfyui.models = ("first.safetensors", "used.safetensors")
    there.webui.loaded = loaded
    webui, comfyui = there.told()
    assert "the same with used.safetensors [abc]; it has no model sd15, which the run trained on" in webui
    assert "the same with first.safetensors; it has no model sd15" in comfyui


def test_pictures_that_differ_anyway_prove_nothing() -> None:
    one = Drawn("ink", "h1", "webui", "now", changes=3.0, changes_at_zero=2.0)
    assert not one.applies and replace(one, changes=30.0).applies


def test_the_memory_of_a_training_is_left_alone(
    place: Callable[[bool], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = place(True)
    monkeypatch.setattr(onhost, "active_units", lambda: ["lora-train@pen.service", "lora-train@waits.service"])
    states = {"pen": {"state": "running", "gpus": ["0"]}, "waits": {"state": "queued", "gpus": []}}
    monkeypatch.setattr(onhost, "state_of", lambda folder: states[folder.name])
    assert there.told()[0] == "h1 WebUI has not drawn with it: the training pen needs the memory"
    assert not there.webui.asked and not there.comfyui.asked
    states["pen"]["gpus"] = ["1"]
    assert "applies it" in there.told()[0], "it has a GPU of its own"


def test_what_does_not_draw_says_why(place: Callable[[bool], Place]) -> None:
    there = place(True)
    there.webui.models = ()
    there.comfyui.broken = True
    without, broken = there.told()
    assert without == "h1 WebUI has not drawn with it: it has no checkpoint"
    assert broken.startswith("h1 ComfyUI has not drawn with it: ")
    assert "it has no checkpoint" in report.write(there.folder).read_text()


@pytest.mark.parametrize("answer", [{"webui": 1}, {"webui": {}}, {"webui": {"pictures": {"without": "?"}}}, []])
def test_an_answer_that_is_none_is_the_hosts_error(place: Callable[[bool], Place], answer: Any) -> None:
    there = place(True)
    there.answer = answer or [1]
    with pytest.raises(HostError, match="h1: what it drew cannot be read"):
        there.draw()


def test_pictures_that_are_none_are_said(place: Callable[[bool], Place]) -> None:
    there = place(True)
    pictures = dict.fromkeys(("without", "with", "zero"), "AAAA")
    there.answer = {"webui": {"pictures": pictures, "checkpoint": "x", "unread": {"count": 0, "first": ""}}}
    [one] = there.draw(["webui"])
    assert one.said == "what was drawn is not a picture" and not (there.folder / drawn.FOLDER).exists()


def test_a_folder_as_base_keeps_its_whole_name(place: Callable[[bool], Place]) -> None:
    there = place(False)
    for checkpoint, name in (("/srv/x/sd-v1.5", "sd-v1.5"), ("/srv/x/sd-v1.5.safetensors", "sd-v1.5")):
        record = there.record | {"config": {"model": {"checkpoint": checkpoint}}}
        (there.folder / "run.json").write_text(json.dumps(record))
        assert there.order().base == name


@pytest.mark.parametrize("config", [None, [], {"model": 1, "sample": []}, {"sample": {"prompts": [None]}}])
def test_a_run_that_says_little_is_drawn_all_the_same(place: Callable[[bool], Place], config: Any) -> None:
    there = place(True)
    (there.folder / "run.json").write_text(json.dumps(there.record | {"config": config}))
    assert there.order().prompt in (drawn.PROMPT, "None") and there.order().base == ""


@pytest.mark.parametrize("flavor", ["a1111", "forge-neo"])
def test_a_fork_that_remembers_the_file_of_that_name_must_be_restarted(
    flavor: str, fakes: FakeHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.write({"h1": "train webui"}, f'[webui]\nflavor = "{flavor}"')
    run_on(fakes, "h1", "ink")
    (fakes.root("h1") / "store").mkdir()
    monkeypatch.setattr(
        train, "publish_file", lambda *_: {"changed": True, "replaced": True, "refreshed": ["webui", "comfyui"]}
    )
    asked: list[str] = []
    monkeypatch.setattr(train, "_draw", lambda remotes, roles, *_: asked.extend(roles["h1"]))
    done = fakes.sdfleet("train", "publish", "ink", "--into", str(tmp_path / "runs"))
    said = "warning h1: WebUI draws with the earlier ink until you run: sdfleet restart webui h1"
    assert done.exit_code == 0 and (said in done.output) == (flavor == "forge-neo"), done.output
    assert asked == (["comfyui"] if flavor == "forge-neo" else ["webui", "comfyui"])


def test_publish_draws_where_it_was_seen_unless_told_not_to(
    fakes: FakeHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.write({"h1": "train webui", "h2": "webui"})
    run_on(fakes, "h1", "ink")
    (fakes.root("h1") / "store").mkdir()
    new = {"changed": True, "replaced": False}
    seen = {"h1": {**new, "refreshed": ["webui"]}, "h2": {**new, "refreshed": []}}
    monkeypatch.setattr(train, "publish_file", lambda remote, *_: seen[remote.name])
    asked: list[str] = []

    def draw(remote: Remote, roles: list[str], wanted: Order, folder: Path) -> list[Drawn]:
        asked.append(f"{remote.name} {roles}")
        return [Drawn("ink", remote.name, "webui", "now", changes=20.0)]

    monkeypatch.setattr(drawn, "draw", draw)
    words = ("train", "publish", "ink", "--into", str(tmp_path / "runs"))
    assert fakes.sdfleet(*words, "--no-draw").exit_code == 0 and asked == []
    done = fakes.sdfleet(*words)
    assert done.exit_code == 0 and asked == ["h1 ['webui']"], done.output
    assert "h1 WebUI applies it: the picture changes by 20.0 of 255" in done.output
