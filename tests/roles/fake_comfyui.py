"""A ComfyUI of a few lines for tests of the program that runs it: started as main.py, told by environment variables.

FAKE_PICTURE is a PNG file that it "draws"; FAKE_CHECKPOINT a file that must exist before it has a checkpoint;
FAKE_FATE says what becomes of an order: drawn, refused (400), failed (in the node), or never (it waits on).
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FATE = os.environ.get("FAKE_FATE", "drawn")
history: dict[str, Any] = {}
waiting: list[str] = []
asked: list[Any] = []
"""Paths and bodies of the POSTs."""


def draw(order: dict[str, Any]) -> tuple[int, Any]:
    name = f"order-{len(asked)}"
    if FATE == "refused":
        errors = [{"message": "Value not in list", "details": "ckpt_name: 'a' not in []"}]
        node = {"class_type": "CheckpointLoaderSimple", "errors": errors}
        return 400, {"error": {"message": "Prompt outputs failed validation"}, "node_errors": {"1": node}}
    if FATE == "never":
        waiting.append(name)
        return 200, {"prompt_id": name}
    [shown] = [number for number, node in order["prompt"].items() if node["class_type"] == "PreviewImage"]
    status: dict[str, Any] = {"status_str": "success", "messages": []}
    if FATE == "failed":
        told = {"node_type": "KSampler", "exception_type": "torch.OutOfMemoryError", "exception_message": "CUDA out"}
        status = {"status_str": "error", "messages": [["execution_start", {}], ["execution_error", told]]}
    image = {"filename": "a b.png", "subfolder": "", "type": "temp"}
    history[name] = {"status": status, "outputs": {shown: {"images": [image]}}}
    return 200, {"prompt_id": name}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/view?filename=a+b.png&subfolder=&type=temp":
            self.send(200, Path(os.environ["FAKE_PICTURE"]).read_bytes())
        elif self.path == "/models/checkpoints":
            self.answer(200, ["b.safetensors", "c.safetensors"] if Path(os.environ["FAKE_CHECKPOINT"]).exists() else [])
        elif self.path == "/prompt":
            self.answer(200, {"exec_info": {"queue_remaining": len(waiting)}})
        elif self.path == "/history?max_items=1":
            self.answer(200, dict(list(history.items())[-1:]))
        elif self.path == "/asked":
            self.answer(200, asked)
        else:
            name = self.path.removeprefix("/history/")
            self.answer(200, {name: history[name]} if name in history else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append([self.path, body])
        if self.path == "/prompt":
            self.answer(*draw(body))
            return
        for name in body.get("delete", []):
            history.pop(name, None)
            waiting[:] = [other for other in waiting if other != name]
        self.answer(200, {})

    def answer(self, status: int, value: object) -> None:
        self.send(status, json.dumps(value).encode())

    def send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def main() -> None:
    port = int(sys.argv[sys.argv.index("--port") + 1])
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"To see the GUI go to: http://127.0.0.1:{port}", flush=True)
    server.serve_forever()


main()
