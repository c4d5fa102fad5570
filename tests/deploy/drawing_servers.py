"""A WebUI and a ComfyUI of a few lines, which draw one colour without a LoRA, and another with one that they apply."""

import base64
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PLAIN, CHANGED = (10, 20, 30), (10, 80, 30)
MODELS = ("other.safetensors", "sub/sd15.safetensors")


def png(colour: tuple[int, int, int]) -> bytes:
    """A picture of 8 by 8 pixels."""
    rows = b"".join(b"\0" + bytes(colour) * 8 for _ in range(8))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


@dataclass
class Drawing:
    """Both, on one port."""

    port: int = 0
    applies: bool = True
    models: tuple[str, ...] = MODELS
    loaded: str = ""
    """What the WebUI has in use."""
    broken: bool = False
    """Whether it answers to orders without one."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The orders, in the words of each."""

    def webui(self, body: dict[str, Any]) -> Any:
        """txt2img of the WebUI."""
        self.asked.append(body)
        changed = self.applies and "<lora:ink:1>" in body["prompt"]
        return {"images": [base64.b64encode(png(CHANGED if changed else PLAIN)).decode()]}

    def comfyui(self, body: dict[str, Any]) -> Any:
        """The order's id tells which picture it gets."""
        if self.broken:
            return {}
        self.asked.append(body["prompt"])
        lora = body["prompt"].get("8")
        return {"prompt_id": "changed" if self.applies and lora and lora["inputs"]["strength_model"] == 1 else "plain"}

    def get(self, path: str) -> Any:
        """What a GET brings."""
        match path.partition("?")[0].split("/")[1:]:
            case ["sdapi", "v1", "sd-models"]:
                return [{"title": f"{name} [abc]"} for name in self.models]
            case ["sdapi", "v1", "options"]:
                return {"sd_model_checkpoint": self.loaded}
            case ["models", "checkpoints"]:
                return list(self.models)
            case ["history", name]:
                image = {"filename": name, "subfolder": "", "type": "temp"}
                return {name: {"status": {"status_str": "success"}, "outputs": {"7": {"images": [image]}}}}
            case ["view"]:
                return png(CHANGED if "filename=changed" in path else PLAIN)
        return {}


@contextmanager
def running(applies: bool = True) -> Iterator[Drawing]:
    """Both, for the length of a `with` block."""
    drawing = Drawing(applies=applies)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send(drawing.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            orders = {"/sdapi/v1/txt2img": drawing.webui, "/prompt": drawing.comfyui}
            self.send(orders[self.path](body) if self.path in orders else {})

        def send(self, value: Any) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        drawing.port = server.server_port
        yield drawing
        server.shutdown()
