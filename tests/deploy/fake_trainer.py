#!/usr/bin/python3
"""A stand-in for lora-train that keeps its contract in a tenth of a second a step.

Contract: log.jsonl, output/NAME.safetensors, run.json that says at the end how it ended, a checkpoint on SIGTERM, and
going on from it.
A config named `fails` breaks at step 3; one named `holds` waits at step 5 to be stopped once.
"""

import hashlib
import json
import signal
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

config = tomllib.loads(Path(sys.argv[2]).read_text())
run = Path(sys.argv[4])
steps = config["train"]["steps"]
checkpoint = run / "checkpoint/step"
stopped: list[int] = []
signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))


def log(event: str, step: int, **details: Any) -> None:
    with (run / "log.jsonl").open("a") as out:
        out.write(json.dumps({"event": event, "step": step, "steps": steps, "epoch": 1, **details}) + "\n")


first = int(checkpoint.read_text()) if checkpoint.exists() else 0
log("start", first)
for step in range(first + 1, steps + 1):
    time.sleep(0.1)
    log("step", step, loss=1 / step, it_per_s=10.0, eta_s=(steps - step) / 10)
    if config["name"] == "fails" and step == 3:
        log("error", step, message="the loss is not a number at step 3")
        sys.exit(1)
    while config["name"] == "holds" and first == 0 and step == 5 and not stopped:
        time.sleep(0.05)
    if stopped:
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.write_text(str(step))
        sys.exit(0)
pictures = sorted(Path(config["data"]["folder"]).rglob("*.*"))
weights = hashlib.sha256(b"".join(picture.read_bytes() for picture in pictures)).digest() * 100_000
(run / "output").mkdir(exist_ok=True)
(run / "output" / f"{config['name']}.safetensors").write_bytes(weights)
log("end", steps)
(run / "run.json").write_text(json.dumps({"format": 1, "steps": steps, "ended": {"how": "finished"}}))
