"""A rented container with every role but training and the gateway, its data root below /root: AutoDL's data disk."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import tomlkit
import torch

from lab import box
from lab.state import Rented
from lab.upstreams.repositories import publish
from lab.upstreams.service import Folders
from tests.e2e.conftest import Road
from tests.e2e.test_container import until_active
from tests.typed import Done

pytestmark = pytest.mark.lab

NAME = "c1"
ROOT = "/root/autodl-tmp/sdfleet"
EXTENSION = "sdfleet-lab/extension"
PICKLE = "sdfleet-lab/pickles"
SHOWN = f"{ROOT}/data/webui/extensions"
CODE = f"{ROOT}/apps/lora_scripts/current/code"
HEALTH = "curl -sS -m 10 http://127.0.0.1:8188/healthz"
LISTED = "curl -sS -m 30 'http://127.0.0.1:28000/api/get_files?pick_type=model-file'"
PLAIN = {"name": "ext", "url": f"https://github.com/{EXTENSION}.git"}


class Before(NamedTuple):
    """What was said of a new container."""

    doctor_elsewhere: Done
    plan_elsewhere: Done
    plan: Done
    mode: str
    """Of /root, after the plans."""


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """A container of AutoDL's kind that was trusted."""
    folder = tmp_path_factory.mktemp("roles")
    with box.attached(hosts=0, containers=(Rented(provider="autodl"),)) as running:
        made = Road(running, folder)
        groups = [*box.GROUPS, "comfyui"]
        box.write_fleet(running, made.file, fleet={"data_root": ROOT}, pinned=False, groups=groups)
        upstreams = Folders(running.folder.upstreams)
        pickle = upstreams.hub / PICKLE / "main/tiny.pt"
        pickle.parent.mkdir(parents=True)
        torch.save({"weight": torch.arange(6.0)}, pickle)
        commit = publish(upstreams.git / f"{EXTENSION}.git", {"scripts/it.py": b"SAYS = 1\n"}, "a version")
        document = tomlkit.parse(made.file.read_text())
        host = document["hosts"][NAME]
        host["groups"] = ["webui", "comfyui", "lora_scripts", "cache"]
        host["comfyui"] = {"port": 8288}  # the cache has 8188
        host["internal"] = running.hosts[0].address
        host["password"] = {"env": "RENTED_PASSWORD"}
        document["webui"]["extensions"] = [{**PLAIN, "commit": commit}]
        model = {"name": "tiny", "kind": "upscaler", "source": f"hf:{PICKLE}/tiny.pt", "allow_pickle": True}
        document["models"].append(model)
        made.file.write_text(tomlkit.dumps(document))
        box.pin(running, made.file)
        password = running.folder.password(NAME).read_text().strip()
        done = made.sdfleet("trust", NAME, RENTED_PASSWORD=password)
        assert done.code == 0, done.text
        yield made


@pytest.fixture(scope="module")
def before(new: Road) -> Before:
    """First of all, with the data root on the small disk and then on the data disk."""
    text = new.file.read_text()
    new.file.write_text(text.replace(ROOT, "/srv/sdfleet"))
    doctor, elsewhere = new.sdfleet("doctor"), new.sdfleet("plan")
    new.file.write_text(text)
    return Before(doctor, elsewhere, new.sdfleet("plan"), new.on(NAME, "stat -c %a /root"))


@pytest.fixture(scope="module")
def container(new: Road, before: Before) -> Road:
    """The container after a first apply."""
    new.on(NAME, "echo secret | tee /root/token >/root/autodl-tmp/token")
    done = _succeeds(new, "apply")
    print(f"first apply: {done.seconds:.0f} s")
    return new


def _succeeds(container: Road, verb: str) -> Done:
    done = container.sdfleet(verb)
    assert done.code == 0, done.text
    return done


def _unchanged(container: Road) -> None:
    again = _succeeds(container, "apply")
    assert re.search(rf"{NAME} +ok +0 ", again.text), again.text


def test_the_doctor_and_the_plan_name_what_the_data_root_needs(before: Before) -> None:
    line = f'data_root = "{ROOT}"'
    for done in (before.doctor_elsewhere, before.plan_elsewhere):
        assert line in " ".join(done.text.split()), done.text
    plan = before.plan
    assert plan.code in (0, 3) and "Let services pass through /root, and close what else is in it" in plan.text, (
        plan.text
    )
    assert "on its data disk" not in plan.text
    assert before.mode == "700", "a plan changes nothing"


def test_a_second_apply_changes_nothing_and_the_way_to_the_data_is_as_narrow_as_can_be(container: Road) -> None:
    _unchanged(container)
    _succeeds(container, "verify")
    _succeeds(container, "status")
    assert container.on(NAME, "stat -c %a /root /root/token") == "701\n640"
    shown = container.on(NAME, "stat -c %A /root/autodl-tmp /root/autodl-tmp/token").split()
    assert [line[-3:] for line in shown] == ["--x", "---"], "what /root alone closed"
    assert container.lab.ssh(NAME, "runuser -u sdwebui -- ls /root").returncode


def test_comfyui_has_drawn_and_is_operated_as_elsewhere(container: Road) -> None:
    state = json.loads(container.on(NAME, "cat /run/sdfleet-comfyui/state.json"))
    assert state["ready"] and state["picture"] and state["problem"] == ""
    assert container.sdfleet("stop", "comfyui").code == 0
    assert container.sdfleet("verify", "--role", "comfyui").code == 3
    assert container.sdfleet("start", "comfyui").code == 0
    assert "To see the GUI go to" in container.sdfleet("logs", NAME, "comfyui").text


def test_the_cache_and_lora_scripts_serve(container: Road) -> None:
    assert container.on(NAME, HEALTH) == "ok"
    assert "tiny-sd15.safetensors" in container.on(NAME, LISTED)
    assert container.on(NAME, f"readlink {CODE}/output") == f"{ROOT}/data/lora_scripts/output"
    container.on(NAME, f"runuser -u sdlora -- touch {CODE}/output/trained")
    assert container.on(NAME, f"ls {ROOT}/data/lora_scripts/output") == "trained"
    kept = container.on(NAME, f"find {ROOT}/cache/http/kept -type f | wc -l")
    assert int(kept) > 0, "nothing was downloaded over the cache"


def test_an_extension_is_linked_and_comes_and_goes_with_the_release(container: Road) -> None:
    there = f"cat {SHOWN}/ext/scripts/it.py"
    assert container.on(NAME, there) == "SAYS = 1"
    text = container.file.read_text()
    document = tomlkit.parse(text)
    del document["webui"]["extensions"]
    container.file.write_text(tomlkit.dumps(document))
    _succeeds(container, "apply")
    assert container.on(NAME, f"[ -e {SHOWN}/ext ] || echo gone") == "gone"
    _succeeds(container, "rollback")
    assert container.on(NAME, there) == "SAYS = 1", "the link stays for a release to which the host may go back"
    container.file.write_text(text)
    _succeeds(container, "apply")
    assert container.on(NAME, there) == "SAYS = 1"
    _unchanged(container)


def test_a_pickle_is_converted(container: Road) -> None:
    done = container.sdfleet("models", "convert", "tiny", "--host", NAME)
    assert done.code == 0 and f"Made {ROOT}/converted/tiny.safetensors" in done.text, done.text
    header = container.on(NAME, f"tail -c +9 {ROOT}/converted/tiny.safetensors | head -c 80")
    assert '"weight":{"dtype":"F32","shape":[6]' in header


def test_a_drifted_way_is_found_and_mended(container: Road) -> None:
    container.on(NAME, "chmod 700 /root")
    done = container.sdfleet("verify")
    assert done.code == 3 and "/root is closed to services" in " ".join(done.text.split()), done.text
    _succeeds(container, "apply")
    _succeeds(container, "verify")


def test_all_is_back_after_a_stop_also_where_the_image_has_a_closed_home(container: Road) -> None:
    container.on(NAME, "chmod 700 /root")
    container.lab.stop(NAME)
    container.lab.start(NAME)
    print(f"ready after {until_active(container, ROOT):.0f} s")
    _unchanged(container)
    assert container.on(NAME, HEALTH) == "ok"
    _succeeds(container, "verify")
