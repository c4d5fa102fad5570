"""`sdfleet demo`: provision two local test machines, train a LoRA, and write a report with the pictures."""

import base64
import io
import json
import os
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import requests
import tomlkit

import templates
from deploy import interrupts
from deploy.connection.several import connect
from deploy.connection.tunnel import free_port, tunnel
from deploy.console import out, styled
from inventory.errors import SdfleetError
from inventory.load import load
from inventory.model import Fleet
from lab import box
from lab.learned.subjects import SIDE, SUBJECTS, write_drawings
from lab.upstreams.catalog import LEARNED_MODEL, put_learned_model
from training.terminal import visible

RUN = "ink"
HOSTS = 2
PROMPTS = tuple(SUBJECTS[subject].caption for subject in ("astronaut", "cat", "coffee", "cameraman"))
WEIGHTS = (0.5, 1, 0)
"""Of the LoRA, in the report's columns beside the one without it."""
STEPS = 8
"""Sampler steps of a picture."""
GUIDANCE = 1
"""None: a model that knows its pictures by heart needs no guidance, and without it a picture takes half the time."""

TRAINING = {
    "name": RUN,
    "model": {"checkpoint": LEARNED_MODEL},
    "data": {"folder": "drawings", "resolution": SIDE},
    "network": {"rank": 8, "alpha": 8},
    "optimizer": {"learning_rate": 5e-3},
    "schedule": {"kind": "cosine", "warmup_steps": 5},
    "train": {"steps": 40, "batch_size": 2, "seed": 1, "device": "cpu"},
}


@dataclass(frozen=True)
class Timing:
    """One step of the demo and how long it took."""

    title: str
    command: str
    seconds: float


@dataclass(frozen=True)
class Picture:
    """A picture of the report, as a PNG in base64, and its difference from the first one of its row."""

    png: str
    difference: float


@dataclass(frozen=True)
class Row:
    """A prompt's pictures: without the LoRA, then with each of WEIGHTS."""

    prompt: str
    pictures: list[Picture]


class _Session:
    """Runs the commands that a person would type, and keeps their times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.timings: list[Timing] = []

    def type(self, title: str, *arguments: str) -> None:
        command = shlex.join(["sdfleet", *arguments])
        out.rule(styled("[bold]{}[/]  [dim]$ {}[/]", title, command), align="left")
        began = time.monotonic()
        program = [sys.executable, "-P", "-c", "import sdfleet; sdfleet.main()", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
        code = interrupts.run(program, self.folder, environment)
        self.timings.append(Timing(title, command, time.monotonic() - began))
        if code:
            raise SdfleetError(f"the demo stopped: `{command}` ended with exit code {code} (see above)")


def run(folder: Path) -> Path:
    """Run the demo in `folder` and return the path of its report.

    Raises SdfleetError at the first step that fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    session = _Session(folder)
    began = time.monotonic()
    with box.attached(HOSTS, say=out.print) as machines:
        session.timings.append(Timing("Start the machines", "sdfleet lab up", time.monotonic() - began))
        box.write_fleet(machines, folder / "fleet.toml", models=[put_learned_model(machines.folder.upstreams)])
        write_drawings(folder / "drawings")
        (folder / "train.toml").write_text(tomlkit.dumps(TRAINING))
        fleet = load(folder / "fleet.toml")
        trainer, painter = fleet.hosts
        session.type("Validate the fleet's file", "check")
        session.type("Provision bare machines", "apply")
        session.type("Apply again: nothing to do", "apply")
        session.type("Verify from outside", "verify")
        session.type("Look at the fleet", "status")
        drawn = [draw(fleet, painter, PROMPTS)]
        session.type("Train a LoRA", "train", "run", "train.toml", "--on", trainer, "--name", RUN)
        session.type("Publish it to the WebUIs", "train", "publish", RUN)
        for weight in WEIGHTS:
            drawn.append(draw(fleet, painter, [f"{prompt} <lora:{RUN}:{weight}>" for prompt in PROMPTS]))
        rows = [_row(prompt, pictures) for prompt, *pictures in zip(PROMPTS, *drawn, strict=True)]
        report = folder / "report.html"
        report.write_text(_report(fleet, session, folder, trainer, painter, rows))
    for row in rows:
        _judge(row)
    out.print(f"The demo took {(time.monotonic() - began) / 60:.1f} minutes. Open {report}")
    return report


def draw(fleet: Fleet, host: str, prompts: Iterable[str]) -> list[bytes]:
    """The PNGs that the WebUI of `host` generates for `prompts`, with a fixed seed."""
    order = {"seed": 1, "steps": STEPS, "width": SIDE, "height": SIDE, "cfg_scale": GUIDANCE}
    settings = fleet.hosts[host]
    local = free_port(settings.webui.port)
    drawn = []
    with connect([settings]) as remotes, tunnel(remotes[host], settings.webui.port, local):
        for prompt in prompts:
            body = {"prompt": prompt, **order}
            answer = requests.post(f"http://127.0.0.1:{local}/sdapi/v1/txt2img", json=body, timeout=300)
            answer.raise_for_status()
            drawn.append(base64.b64decode(answer.json()["images"][0]))
    return drawn


def difference(one: bytes, other: bytes) -> float:
    """Mean absolute difference of two PNGs of one size, in steps of 0..255 a channel."""
    from PIL import Image, ImageChops, ImageStat

    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        return float(sum(ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB"))).mean) / 3)


def _row(prompt: str, pictures: list[bytes]) -> Row:
    first = pictures[0]
    return Row(prompt, [Picture(base64.b64encode(png).decode(), difference(first, png)) for png in pictures])


def _judge(row: Row) -> None:
    by_weight = dict(zip(WEIGHTS, row.pictures[1:], strict=True))
    if by_weight[1].difference == 0:
        raise SdfleetError(
            f"the LoRA changed no pixel of {row.prompt!r}: the WebUI did not apply it; see sdfleet logs for its journal"
        )
    if by_weight[0].difference > 0:
        raise SdfleetError(f"with weight 0 the picture of {row.prompt!r} should equal the first one, but it differs")


def _report(fleet: Fleet, session: _Session, folder: Path, trainer: str, painter: str, rows: list[Row]) -> str:
    log = folder / "runs" / RUN / "log.jsonl"
    steps = [event for event in map(json.loads, log.read_text().splitlines()) if event["event"] == "step"]
    losses = [event["loss"] for event in steps]
    smooth = [event["loss_smooth"] for event in steps]
    top = max(losses)
    hosts = [
        {"name": host.name, "address": host.connection.address, "roles": ", ".join(host.roles)}
        for host in fleet.hosts.values()
    ]
    return templates.page(
        "demo/report.html.j2",
        visible,
        hosts=hosts,
        trained_on=trainer,
        drawn_on=painter,
        titles=["Without the LoRA", *(f"<lora:{RUN}:{weight}>" for weight in WEIGHTS)],
        rows=rows,
        curve=_points(losses, top),
        smooth_curve=_points(smooth, top),
        steps=len(losses),
        first_loss=smooth[0],
        last_loss=smooth[-1],
        timings=session.timings,
    )


def _points(values: list[float], top: float) -> str:
    """`values` as points of an SVG polyline, 640 by 200."""
    across = 640 / max(len(values) - 1, 1)
    return " ".join(f"{index * across:.1f},{195 - 185 * value / top:.1f}" for index, value in enumerate(values))
