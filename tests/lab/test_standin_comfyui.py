"""The stand-in ComfyUI's contract: what the genuine one answers before it draws. Needs no torch."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from tests.lab import comfyui
from tests.lab.comfyui import START, Comfy, command, graph, said

EVIL = "http://evil.example"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its code."""
    return comfyui.code(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="module")
def comfy(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    """A running one without models."""
    with comfyui.running(code, tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("extra")) as running:
        yield running


def test_start_makes_its_folders_and_empties_temp(comfy: Comfy) -> None:
    assert {"input", "temp", "user"} <= {path.name for path in comfy.base.iterdir()}
    assert (comfy.base / "user/comfyui.db").exists()
    assert not (comfy.base / "temp/old.png").exists()
    assert f"Adding extra search path loras {comfy.extra}/more" in comfy.log.read_text()


def test_a_custom_node_that_cannot_be_loaded_is_told_and_passed_over(comfy: Comfy) -> None:
    log = comfy.log.read_text()
    assert f"seconds (IMPORT FAILED): {comfy.base}/custom_nodes/broken" in log
    assert f"seconds: {comfy.base}/custom_nodes/say" in log


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_answers_have_the_originals_shape(comfy: Comfy, prefix: str) -> None:
    stats = comfy.get(f"{prefix}/system_stats").json()
    assert stats["system"]["comfyui_version"] == "0.3.64" and stats["devices"][0]["type"] == "cpu"
    assert comfy.get(f"{prefix}/prompt").json() == {"exec_info": {"queue_remaining": 0}}
    assert comfy.get(f"{prefix}/queue").json() == {"queue_running": [], "queue_pending": []}
    assert comfy.get(f"{prefix}/history/nobody").json() == {}
    assert "loras" in comfy.get(f"{prefix}/models").json()
    assert comfy.get(f"{prefix}/models/nothing").status_code == 404
    info = comfy.get(f"{prefix}/object_info/LoraLoader").json()["LoraLoader"]
    assert info["input_order"]["required"] == ["model", "clip", "lora_name", "strength_model", "strength_clip"]
    assert info["output"] == ["MODEL", "CLIP"] and not info["output_node"]
    assert "<title>ComfyUI</title>" in comfy.get("/").text


def test_models_of_extra_paths_are_seen_at_once(comfy: Comfy) -> None:
    for place in ("loras/sub/ink.safetensors", "more/oil.safetensors", "more/notes.txt"):
        (comfy.extra / place).parent.mkdir(parents=True, exist_ok=True)
        (comfy.extra / place).touch()
    assert comfy.get("/models/loras").json() == ["oil.safetensors", "sub/ink.safetensors"]
    for place in ("loras/sub", "more"):
        shutil.rmtree(comfy.extra / place)
    assert comfy.get("/models/loras").json() == []


@pytest.mark.parametrize(
    ("asked", "kind", "node", "reason"),
    [
        ({}, "no_prompt", "", ""),
        ({"prompt": {}}, "prompt_no_outputs", "", ""),
        ({"prompt": {"1": {"class_type": "Nix", "inputs": {}}}}, "invalid_prompt", "", ""),
        ({"prompt": {"1": {"class_type": "Say", "inputs": {}}}}, "", "1", "required_input_missing"),
        ({"prompt": said(seconds=-1)}, "", "1", "value_smaller_than_min"),
        ({"prompt": graph()}, "", "4", "value_not_in_list"),
        ({"prompt": graph(steps=0)}, "", "3", "value_smaller_than_min"),
        ({"prompt": graph(model=["6", 0])}, "", "3", "return_type_mismatch"),
    ],
)
def test_a_wrong_graph_is_400_and_says_which_node(
    comfy: Comfy, asked: dict[str, Any], kind: str, node: str, reason: str
) -> None:
    answer = comfy.post("/prompt", asked)
    assert answer.status_code == 400
    told = answer.json()
    assert told["error"]["type"] == (kind or "prompt_outputs_failed_validation")
    assert set(told["error"]) == {"type", "message", "details", "extra_info"}
    if node:
        assert told["node_errors"][node]["errors"][0]["type"] == reason
        assert told["node_errors"][node]["dependent_outputs"]
    else:
        assert told["node_errors"] == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": EVIL}, 403),
        ({"Origin": "{url}"}, 200),
        ({"Origin": "http://127.0.0.1"}, 200),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost:{port}"}, 403),
        ({"Origin": "null"}, 200),
        ({"Origin": EVIL, "Host": "sd.example.com"}, 200),
        ({}, 200),
    ],
)
def test_another_origin_is_refused_where_host_is_the_loopback(
    comfy: Comfy, headers: dict[str, str], status: int
) -> None:
    given = {name: value.format(url=comfy.url, port=comfy.port) for name, value in headers.items()}
    answer = comfy.get("/prompt", **given)
    assert (answer.status_code, bool(answer.content)) == (status, status == 200)


def test_a_graph_is_computed_once(comfy: Comfy) -> None:
    asked = said("once")
    first, second = comfy.compute(asked), comfy.compute(asked)
    assert first["status"]["status_str"] == "success" and first["status"]["completed"]
    assert first["prompt"][2] == asked
    assert first["outputs"] == second["outputs"], "kept from the first"
    assert ["execution_cached", ["1"]] in [[name, data.get("nodes")] for name, data in second["status"]["messages"]]
    assert comfy.post("/free", {"free_memory": True, "unload_models": True}).content == b""
    deadline = time.monotonic() + 30
    while comfy.compute(asked)["outputs"] == first["outputs"]:
        assert time.monotonic() < deadline, "still kept after /free"


def test_a_failing_node_is_told_in_the_history(comfy: Comfy) -> None:
    status = comfy.compute(said("fail"))["status"]
    assert status["status_str"] == "error" and not status["completed"]
    name, told = status["messages"][-1]
    assert name == "execution_error"
    assert (told["node_id"], told["node_type"], told["exception_type"]) == ("1", "Say", "ValueError")
    assert told["exception_message"].strip() == "no words"


def test_queue_is_shown_changed_and_interrupted(comfy: Comfy) -> None:
    first = comfy.queue(said(seconds=1.5))
    later, dropped = comfy.queue({**graph_of_two(), **said()}), comfy.queue(said())
    urgent = comfy.queue(said(), front=True)
    while not (shown := comfy.get("/queue").json())["queue_running"]:
        time.sleep(0.02)
    assert [item[1] for item in shown["queue_running"]] == [first]
    assert [item[1] for item in sorted(shown["queue_pending"])] == [urgent, later, dropped]
    assert comfy.get("/prompt").json() == {"exec_info": {"queue_remaining": 4}}
    assert comfy.post("/queue", {"delete": [dropped]}).status_code == 200
    assert comfy.done(later)["status"]["completed"]
    assert comfy.get(f"/history/{dropped}").json() == {}
    stopped = comfy.queue({"1": said(seconds=0.5)["1"], "2": said()["1"]})
    while not comfy.get("/queue").json()["queue_running"]:
        time.sleep(0.02)
    assert requests.post(f"{comfy.url}/interrupt", timeout=30).status_code == 200
    status = comfy.done(stopped)["status"]
    assert (status["status_str"], status["messages"][-1][0]) == ("error", "execution_interrupted")
    assert comfy.post("/history", {"delete": [stopped]}).status_code == 200
    assert comfy.get(f"/history/{stopped}").json() == {}


def graph_of_two() -> dict[str, Any]:
    """A node whose text is the other's."""
    return {"2": {"class_type": "Say", "inputs": {"text": ["1", 0], "seconds": 0.0}}}


def test_websocket_tells_its_client_how_far_its_graph_is(comfy: Comfy) -> None:
    async def watch() -> list[dict[str, Any]]:
        seen = []
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{comfy.url}/ws?clientId=me") as messages:
            seen.append(await messages.receive_json())
            await asyncio.to_thread(comfy.queue, said(), client_id="me")
            while seen[-1]["type"] != "executing" or seen[-1]["data"]["node"] is not None:
                seen.append(await asyncio.wait_for(messages.receive_json(), 30))
        return seen

    seen = asyncio.run(watch())
    length = {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"}
    assert seen[0] == {"type": "status", "data": length}
    passing = ("status", "progress_state")
    named = [message["type"] for message in seen if message["type"] not in passing]
    assert named == [
        *("execution_start", "execution_cached", "executing", "executed", "execution_success", "executing"),
    ]


def test_another_origin_gets_no_websocket(comfy: Comfy) -> None:
    async def connect() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{comfy.url}/ws", origin=EVIL):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        asyncio.run(connect())


def test_files_outside_its_folders_are_not_shown(comfy: Comfy) -> None:
    shown = {
        ("../user/comfyui.db", "output", ""): 400,
        ("comfyui.db", "output", "../user"): 403,
        ("comfyui.db", "user", ""): 400,
        ("nothing.png", "temp", ""): 404,
    }
    for (name, kind, below), status in shown.items():
        asked = {"filename": name, "type": kind, "subfolder": below}
        assert requests.get(f"{comfy.url}/view", params=asked, timeout=30).status_code == status, name


def test_self_check_and_wrong_options(code: Path, tmp_path: Path) -> None:
    def run(*more: str) -> int:
        return subprocess.run(
            command(code, tmp_path, *more), capture_output=True, check=False, timeout=START
        ).returncode

    assert run("--quick-test-for-ci") == 1, "custom_nodes is missing"
    (tmp_path / "custom_nodes").mkdir()
    assert run("--quick-test-for-ci") == 0
    assert run("--no-such-option") == 2
    assert run("--lowvram") == 2, "not with --cpu"
    assert run("--user-directory", str(tmp_path / "nothing")) == 2
