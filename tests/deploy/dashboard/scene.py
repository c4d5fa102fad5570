"""A board as a fleet of five hosts would fill it, and the page of it, without a host."""

import contextlib
import io
import math
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, ImageDraw

from deploy.connection.ssh import HostError
from deploy.dashboard.app import Painted
from deploy.dashboard.board import Board
from deploy.dashboard.command import listener, served
from deploy.dashboard.news import News
from deploy.dashboard.views import HostView, ReleaseView, RunDetail, SampleView, UpdateView, curve
from deploy.documents import Failure
from deploy.runs.progress import Point
from deploy.shapes import Disk, DrawingState, Gpu, HostState, ModelFiles, Run, RunProgress

NOW = time.time()
PROMPTS = ("a cat on a windowsill, ink drawing", "a lighthouse at night, ink drawing", "a bowl of lemons, ink drawing")


@dataclass
class Painter:
    """Draws what runs would have drawn."""

    def sample(self, run: str, key: str) -> tuple[bytes, str]:
        """A picture of a run `ink...` or `portraits...`; no other run has any."""
        if not run.startswith(("ink", "portraits")):
            raise LookupError(run)
        if run == "ink-broken":
            raise HostError("gpu-1: the picture is gone")
        step, place = map(int, key.split("-"))
        picture = Image.new("RGB", (256, 256), (244, 240, 230))
        draw, chance = ImageDraw.Draw(picture), random.Random(place)
        for _ in range(8 + step // 40):
            x, y, size = chance.randrange(256), chance.randrange(256), chance.randrange(10, 90)
            draw.arc(
                (x - size, y - size, x + size, y + size), chance.randrange(360), chance.randrange(360), (30, 30, 46), 3
            )
        told = io.BytesIO()
        picture.save(told, "PNG")
        return told.getvalue(), "image/png"


def points(steps: int, seed: int = 1) -> list[Point]:
    """The losses of a run."""
    chance, smooth, found = random.Random(seed), 0.21, []
    for step in range(1, steps + 1):
        loss = 0.075 + 0.13 * math.exp(-step / 260) + chance.gauss(0, 0.018)
        smooth = 0.96 * smooth + 0.04 * loss
        found.append(Point(step, max(loss, 0.02), smooth))
    return found


def run(name: str, state: str, made: float, step: int = 0, steps: int = 2000, **values: Any) -> Run:
    """A run; one that trains has speed and time left."""
    trains = state == "running"
    loss = points(step)[-1].smooth if step else None
    progress = RunProgress(
        step, steps, step // 250 + 1, loss, 4.1 if trains else None, (steps - step) / 4.1 if trains else None, 9120, ""
    )
    return Run(name, state, values.get("reason", ""), NOW - made, values.get("gpus", ()), None, progress)


def detail(host: str, name: str, step: int, every: int = 250) -> RunDetail:
    """Curve and pictures of a run."""
    steps = range(every, step + 1, every)
    samples = [SampleView(f"{at:08}-{place:02}", at, prompt) for at in steps for place, prompt in enumerate(PROMPTS)]
    return RunDetail(host, name, curve(points(step)), tuple(samples))


def state(gpus: int, load: int, **values: Any) -> HostState:
    """A host with its WebUI ready."""
    cards = tuple(Gpu("NVIDIA GeForce RTX 4090", "580.95.05", 2100 + 190 * load, 24564, load) for _ in range(gpus))
    known = HostState(
        os="Ubuntu 24.04",
        provider=None,
        gpus=cards,
        webui=DrawingState("v1.10.1-8d1f0c4be2", "active/running", None, True, "", None, (), 3.2),
        services={"lora-scripts": "active", "gateway": "active"},
        models=ModelFiles(12, ()),
        disk=Disk(412.0, 983.0),
        runs={},
        idle=None,
        asleep=False,
    )
    return replace(known, **values)


def view(name: str, its: HostState | None, **values: Any) -> HostView:
    """A host that answers."""
    chance = random.Random(name)
    loads = tuple(
        tuple(max(0, min(100, (gpu.load_percent or 0) + chance.randrange(-9, 9))) for _ in range(60))
        for gpu in (its.gpus if its else ())
    )
    releases = (
        ReleaseView("v1.10.1-8d1f0c4be2", "in use", True, "2026-11-27 03:53:40 UTC", "ann@studio", ""),
        ReleaseView("v1.10.1-1f0a77cc03", "served", False, "2026-11-12 18:20:02 UTC", "ann@studio", ""),
    )
    known = HostView(
        name=name,
        address="203.0.113.10",
        groups=("webui", "train"),
        reach="answers",
        since=NOW - 7200,
        drawing={"webui": "ready, drew in 3.2 s"},
        state=its,
        loads=loads,
        releases={"webui": releases},
        update=UpdateView("1f9a2b7c44", "passed", "ann@studio", NOW - 400, ""),
    )
    return replace(known, **values)


def fill(board: Board) -> None:
    """Five hosts: two train, one is updated, one has a problem, one is lost."""
    ink = run("ink-20261128-0930", "running", 3100, 1290, gpus=("0",))
    portrait = run("portraits-20261128-1010", "running", 900, 410, 3000, gpus=("1",))
    queued = run("sketch-a", "queued", 300, reason="waiting for GPU 0, which ink-20261128-0930 holds")
    done = run("ink-20261127-1815", "finished", 60000, 2000)
    broken = run("style-x", "failed", 90000, 120, reason="the loss is not a number; lower optimizer.learning_rate")
    hosts = [
        view("gpu-1", state(2, 96), runs=(queued, portrait, ink, done)),
        view("gpu-2", state(1, 58), address="203.0.113.11", groups=("webui",)),
        view(
            "gpu-3",
            state(1, 4, webui=DrawingState("v1.10.1-8d1f0c4be2", "activating/start", None, False, "", None, (), None)),
            address="203.0.113.12",
            groups=("webui",),
            level="bad",
            drawing={"webui": "no answer (activating/start)"},
            problems=("the WebUI gives no answer (activating/start)",),
            update=UpdateView("1f9a2b7c44", "begun", "ann@studio", NOW - 35, ""),
        ),
        view(
            "rented-1",
            state(1, 0, os="Ubuntu 22.04", provider="autodl", models=ModelFiles(12, ("lora ink",))),
            address="region-9.autodl.pro",
            level="warning",
            problems=("missing: lora ink",),
            update=None,
            runs=(broken,),
        ),
        view(
            "rented-2",
            state(1, 0, os="Ubuntu 22.04", provider="runpod"),
            address="203.0.113.77",
            reach="lost",
            since=NOW - 190,
            level="bad",
            error=Failure(
                "rented-2 (root@203.0.113.77:22): cannot be reached: No route to host",
                "rented-2",
                "Check address, port, firewall, and that the host is up.",
            ),
            update=None,
            releases={},
        ),
    ]
    board.put("fleet", "", {"name": "studio", "file": "fleet.toml", "hosts": [host.name for host in hosts]})
    for host in hosts:
        board.put("host", host.name, host)
        board.saw(host.name, NOW - 190 if host.reach == "lost" else NOW)
    for place, name, step in (("gpu-1", ink.name, 1290), ("gpu-1", portrait.name, 410), ("gpu-1", done.name, 2000)):
        board.put("run", f"{place}/{name}", detail(place, name, step))
    board.tell(
        [
            News(NOW - 1500, "gpu-1", "good", "update 1f9a2b7c44 passed all gates".replace("7c44", "")),
            News(NOW - 900, "gpu-1", "good", "run portraits-20261128-1010: running"),
            News(NOW - 400, "gpu-2", "good", "update 1f9a2b passed all gates"),
            News(NOW - 300, "gpu-1", "good", "run sketch-a: queued"),
            News(NOW - 190, "rented-2", "bad", "rented-2 (root@203.0.113.77:22): cannot be reached: No route to host"),
            News(NOW - 35, "gpu-3", "warning", "update 1f9a2b begun by ann@studio"),
            News(NOW - 20, "gpu-3", "warning", "the WebUI does not answer (activating/start)"),
        ]
    )


@contextlib.contextmanager
def serving(board: Board, painted: Mapping[str, Painted]) -> Iterator[str]:
    """Serve the page of a board; the URL that opens it."""
    with listener(None) as listening:
        server, url = served(board, painted, listening, lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(5)
            assert not thread.is_alive(), "the server does not end"
