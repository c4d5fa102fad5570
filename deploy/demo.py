"""`sdfleet demo`: provision two local test machines, train a LoRA, and write a report with the pictures."""

import base64
import io
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import requests
import tomlkit

import templates
from deploy.connections import connect
from deploy.console import out, styled
from deploy.tunnel import free_port, tunnel
from inventory.errors import SdfleetError
from inventory.load import load
from inventory.model import Fleet
from lab import box, photos
from training.terminal import visible

RUN = "ink"
HOSTS = 2
PROMPT = "a photograph of a cat"
SIZE = 128
STEPS = 8
"""Sampler steps of a picture."""

TRAINING = {
    "name": RUN,
    "model": {"checkpoint": "tiny-sd15"},
    "data": {"folder": "photos", "resolution": SIZE},
    "network": {"rank": 8, "alpha": 8},
    "optimizer": {"learning_rate": 2e-3},
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
    """A picture of the report, as a PNG in base64."""

    caption: str
    png: str


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
        code = subprocess.run(program, cwd=self.folder, env=environment).returncode
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
        box.write_fleet(machines, folder / "fleet.toml")
        photos.write_training_set(folder / "photos", SIZE)
        (folder / "train.toml").write_text(tomlkit.dumps(TRAINING))
        fleet = load(folder / "fleet.toml")
        trainer, painter = fleet.hosts
        session.type("Validate the fleet's file", "check")
        session.type("Provision bare machines", "apply")
        session.type("Apply again: nothing to do", "apply")
        session.type("Verify from outside", "verify")
        session.type("Look at the fleet", "status")
        before = draw(fleet, painter, PROMPT)
        session.type("Train a LoRA", "train", "run", "train.toml", "--on", trainer, "--name", RUN)
        session.type("Publish it to the WebUIs", "train", "publish", RUN)
        after = draw(fleet, painter, f"{PROMPT} <lora:{RUN}:1>")
        at_zero = draw(fleet, painter, f"{PROMPT} <lora:{RUN}:0>")
        report = folder / "report.html"
        report.write_text(_report(fleet, session, folder, trainer, painter, (before, after, at_zero)))
    _judge(before, after, at_zero)
    out.print(f"The demo took {(time.monotonic() - began) / 60:.1f} minutes. Open {report}")
    return report


def draw(fleet: Fleet, host: str, prompt: str) -> bytes:
    """The PNG that the WebUI of `host` generates for `prompt`, with a fixed seed."""
    order = {"prompt": prompt, "seed": 1, "steps": STEPS, "width": SIZE, "height": SIZE, "cfg_scale": 7}
    settings = fleet.hosts[host]
    local = free_port(settings.webui.port)
    with connect([settings]) as remotes, tunnel(remotes[host], settings.webui.port, local):
        answer = requests.post(f"http://127.0.0.1:{local}/sdapi/v1/txt2img", json=order, timeout=300)
        answer.raise_for_status()
    return base64.b64decode(answer.json()["images"][0])


def difference(one: bytes, other: bytes) -> float:
    """Mean absolute difference of two PNGs of one size, in steps of 0..255 a channel."""
    from PIL import Image, ImageChops, ImageStat

    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        return float(sum(ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB"))).mean) / 3)


def _judge(before: bytes, after: bytes, at_zero: bytes) -> None:
    if difference(before, after) == 0:
        raise SdfleetError("the LoRA changed no pixel: the WebUI did not apply it; see sdfleet logs for its journal")
    if difference(before, at_zero) > 0:
        raise SdfleetError("with weight 0 the picture should equal the first one, but it differs")


def _report(
    fleet: Fleet, session: _Session, folder: Path, trainer: str, painter: str, drawn: tuple[bytes, bytes, bytes]
) -> str:
    log = folder / "runs" / RUN / "log.jsonl"
    steps = [event for event in map(json.loads, log.read_text().splitlines()) if event["event"] == "step"]
    losses = [event["loss"] for event in steps]
    smooth = [event["loss_smooth"] for event in steps]
    top = max(losses)
    captions = ("Without the LoRA", f"With <lora:{RUN}:1>", f"With <lora:{RUN}:0>")
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
        prompt=PROMPT,
        pictures=[
            Picture(caption, base64.b64encode(png).decode()) for caption, png in zip(captions, drawn, strict=True)
        ],
        difference=difference(drawn[0], drawn[1]),
        difference_at_zero=difference(drawn[0], drawn[2]),
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
