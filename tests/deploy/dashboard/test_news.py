"""What happened, told from two views of a host."""

from dataclasses import replace
from typing import Any

import pytest

from deploy.dashboard.news import differences
from deploy.dashboard.views import HostView, curve, judged
from deploy.runs.progress import Point
from deploy.shapes import DrawingState, Idle, ModelFiles
from tests.deploy.dashboard import scene

CALM = scene.view("gpu-1", scene.state(1, 5), runs=(scene.run("ink", "queued", 60),), update=None)
DEAF = DrawingState("two", "deactivating/stop", None, False, "", None, (), None)


def told(before: HostView, after: HostView) -> list[tuple[str, str]]:
    """Level and text."""
    return [(news.level, news.text) for news in differences(before, after, scene.NOW)]


def test_nothing_happens_on_a_calm_host() -> None:
    assert told(CALM, replace(CALM, loads=((1, 2),), since=1.0)) == []


def test_a_first_look_tells_no_changes() -> None:
    waiting = HostView(name="gpu-1", address="", groups=(), releases={})
    assert told(waiting, CALM) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"runs": (scene.run("ink", "running", 60),)}, [("good", "run ink: queued, now running")]),
        (
            {"runs": (scene.run("ink", "failed", 60, reason="no memory"),)},
            [("bad", "run ink: queued, now failed (no memory)")],
        ),
        ({"runs": (*CALM.runs, scene.run("pen", "created", 1))}, [("good", "run pen: created")]),
        (
            {
                "state": replace(scene.state(1, 5), webui=DEAF),
                "problems": ("the WebUI gives no answer (deactivating/stop)",),
            },
            [
                ("good", "the WebUI's release is now two"),
                ("warning", "the WebUI does not answer (deactivating/stop)"),
            ],
        ),
        ({"level": "bad", "problems": ("gateway is failed",)}, [("bad", "gateway is failed")]),
    ],
)
def test_what_has_changed_is_told(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert told(CALM, replace(CALM, **changes)) == expected


def test_what_draws_is_told_of_by_its_name() -> None:
    ready = replace(DEAF, release="one", answers=True)
    both = replace(CALM, state=scene.state(1, 5, comfyui=ready))
    deaf = replace(
        CALM, state=scene.state(1, 5, comfyui=DEAF), problems=("ComfyUI gives no answer (deactivating/stop)",)
    )
    expected = [("good", "ComfyUI's release is now two"), ("warning", "ComfyUI does not answer (deactivating/stop)")]
    assert told(both, deaf) == expected


def test_a_host_is_judged_by_what_status_says_of_it() -> None:
    ready = {"webui": "ready, drew in 3.2 s"}
    assert judged(scene.state(1, 5)) == ("good", ready, ())
    deaf = scene.state(1, 5, webui=DEAF, services={"gateway": "failed"})
    assert judged(deaf)[0] == "bad"
    assert judged(deaf)[2] == ("the WebUI gives no answer (deactivating/stop)", "gateway is failed")
    other = scene.state(1, 5, models=ModelFiles(3, ("lora ink",)), idle=Idle(False, 0.0, ()))
    assert judged(other)[0] == "warning"
    assert judged(other)[2] == ("missing: lora ink", "nothing looks whether it is idle")
    empty = DrawingState("0.3.64-1", "active/running", None, True, "no checkpoint yet", None, (), None)
    assert judged(scene.state(1, 5, comfyui=empty)) == (
        "warning",
        {**ready, "comfyui": "no checkpoint yet"},
        ("ComfyUI: no checkpoint yet",),
    )
    undone = scene.state(1, 5, unconfirmed=("went back by itself at T",))
    assert judged(undone) == ("warning", ready, ("went back by itself at T",))


def test_a_long_curve_keeps_its_ends() -> None:
    points = [Point(step, float(step), 1.0) for step in range(1, 100_001)]
    thinned = curve(points)
    assert len(thinned) == 240 and thinned[-1].step == 100_000
    assert curve(points[:3]) == tuple(points[:3])
    assert curve([]) == ()
