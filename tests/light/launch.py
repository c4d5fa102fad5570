"""A WebUI of one file, for tests of rollouts: the launch contract and the API that sdfleet uses, without torch.

What it draws depends on the checkpoint, the prompt and the seed alone. The file `fate` beside it says what is wrong
with this release: crash (ends at once), hang (never starts), grey (draws one colour), stuck (hangs from its second
picture on), fades (draws one colour from its second picture on), other (draws something else), shouts (writes errors),
mumbles (writes what only looks like errors), slow (takes twice as long as `steady`), fat (takes half as much memory
more); `steady` takes as much of both as can be measured.
Test furniture, not AUTOMATIC1111's code.
"""

import base64
import functools
import hashlib
import json
import os
import random
import re
import runpy
import struct
import sys
import textwrap
import threading
import time
import traceback
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import light_page

CODE = Path(__file__).resolve().parent
FATE = (CODE / "fate").read_text().strip()
SECONDS_A_STEP = {"steady": 0.2, "fat": 0.2, "slow": 0.4}.get(FATE, 0.01)
TAKES = bytearray({"steady": 240, "slow": 240, "fat": 360}.get(FATE, 0) << 20)
"""Memory, each page of which is used."""

UNNAMED = "fatal: No names found, cannot describe anything."
"""What git says at each start of the original, of a checkout that has no tag."""

started = threading.Event()
drawing = 0
extensions: dict[str, dict[str, Any]] = {}
"""What the scripts of each extension define."""
drawn = 0


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def checkpoint() -> Path | None:
    files = sorted(Path(option("--data-dir"), "models/Stable-diffusion").glob("*.safetensors"))
    return files[0] if files else None


def picture(order: dict[str, Any]) -> bytes:
    """A PNG of noise that model, prompt and seed decide."""
    model = checkpoint()
    assert model is not None
    words = [hashlib.sha256(model.read_bytes()).hexdigest(), order["prompt"], str(order["seed"])]
    if FATE == "other":
        words.append(FATE)
    one_colour = FATE == "grey" or (FATE == "fades" and drawn > 1)
    width, height = order["width"], order["height"]
    noise = random.Random("\n".join(words)).randbytes(3 * width * height) if not one_colour else b"\x80"
    rows = [noise[3 * width * row : 3 * width * (row + 1)] or b"\x80" * 3 * width for row in range(height)]
    if one_colour:
        rows = [b"\x80" * 3 * width] * height
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, (b"IHDR", b"IDAT", b"IEND"), (head, body, b"")))


def by_prompt(prompt: str) -> bytes:
    """What the page draws of a prompt; of one that says so, after some seconds."""
    slow = re.fullmatch(r"after (\d+) s", prompt)
    time.sleep(int(slow[1]) if slow else 0)
    return picture({"prompt": prompt, "seed": 1, "width": 64, "height": 64})


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if not started.is_set():
            print("Cannot add middleware after an application has started", flush=True)
            sys.exit(1)
        path = self.path.partition("?")[0]
        if path == light_page.JOIN and self.headers.get("Upgrade") == "websocket":
            light_page.join(self, by_prompt)
            return
        if path == "/":
            self.send(200, "text/html", light_page.PAGE.encode())
            return
        model = checkpoint()
        answers: dict[str, Any] = {
            "/internal/ping": {},
            "/internal/sysinfo": {"Commandline": sys.argv, "Environment": dict(os.environ)},
            "/sdapi/v1/extensions": [{"name": name, "says": script.get("SAYS")} for name, script in extensions.items()],
            "/sdapi/v1/sd-models": [{"title": model.name}] if model else [],
            "/sdapi/v1/options": {"sd_model_checkpoint": model.name if model else None},
            "/sdapi/v1/progress": {"state": {"job_count": drawing}},
        }
        self.answer(200 if path in answers else 403, answers.get(path, {}))

    def do_POST(self) -> None:
        global drawing, drawn
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/sdapi/v1/txt2img":
            print(self.path.rpartition("/")[2].replace("refresh", "refreshed"), flush=True)
            self.answer(200, {})
            return
        drawing += 1
        drawn += 1
        if FATE == "stuck" and drawn > 1:
            time.sleep(3600)
        time.sleep(SECONDS_A_STEP * order["steps"])
        made = picture(order)
        drawing -= 1
        for name, script in extensions.items():
            attempt(f"running process: {name}", script.get("process", lambda: None))
        if FATE == "shouts":
            print("RuntimeError: something is not as it was, number", drawn, flush=True)
        self.answer(200, {"images": [base64.b64encode(made).decode()]})

    def answer(self, status: int, value: object) -> None:
        self.send(status, "application/json", json.dumps(value).encode())

    def send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing: the prober asks ten times a second."""


def attempt(task: str, work: Callable[[], Any]) -> Any:
    """Do what an extension wants; as in the original its exceptions are reported and go no further."""
    try:
        return work()
    except Exception:
        print(f"*** Error {task}")
        print(textwrap.indent(traceback.format_exc(), "    "), "---", sep="\n", flush=True)


def load_extensions() -> None:
    for script in sorted(Path(option("--data-dir"), "extensions").glob("*/scripts/*.py")):
        name = script.parents[1].name
        found = attempt(f"loading script: {script}", functools.partial(runpy.run_path, str(script)))
        extensions[name] = found or {}


def main() -> None:
    if "--exit" in sys.argv:
        return
    if FATE == "crash":
        sys.exit("ImportError: this release is broken")
    if FATE == "hang":
        time.sleep(3600)
    load_extensions()
    TAKES[::4096] = b"x" * len(TAKES[::4096])
    server = ThreadingHTTPServer(("127.0.0.1", int(option("--port"))), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hashed = Path(option("--data-dir"), "cache/hashed")
    if not hashed.exists() and (model := checkpoint()):
        # As in the original: while the first checkpoint is hashed, git's complaint comes into the same line.
        print(f"Calculating sha256 for {model}: ", end="", flush=True)
        hashed.parent.mkdir(exist_ok=True)
        hashed.touch()
    print(UNNAMED, file=sys.stderr, flush=True)
    if FATE == "mumbles":
        print("No module 'xformers'. Proceeding without it.")
    started.set()
    print("Startup time: 0.0s", flush=True)
    threading.Event().wait()


main()
