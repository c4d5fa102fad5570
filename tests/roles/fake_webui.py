"""A WebUI of a few lines for tests of the program that runs it: started as launch.py, told by environment variables.

FAKE_PICTURE is a PNG file that it "draws"; FAKE_CHECKPOINT a file that must exist before it has a checkpoint;
FAKE_FATE=early ends it before it has started; FAKE_DRAW_SECONDS is how long a picture takes.
A request that comes before "Startup time:" ends it, as it ends the real one.
"""

import base64
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

started = False
drawing = 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if not started:
            print("Cannot add middleware after an application has started", flush=True)
            os._exit(1)
        if self.path == "/sdapi/v1/sd-models":
            self.answer(["a"] if Path(os.environ["FAKE_CHECKPOINT"]).exists() else [])
        elif self.path.startswith("/sdapi/v1/progress"):
            self.answer({"state": {"job_count": drawing}})
        else:
            self.answer({})

    def do_POST(self) -> None:
        global drawing
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/sdapi/v1/txt2img":
            drawing += 1
            time.sleep(float(os.environ.get("FAKE_DRAW_SECONDS", "0")))
            drawing -= 1
            self.answer({"images": [base64.b64encode(Path(os.environ["FAKE_PICTURE"]).read_bytes()).decode()]})
        else:
            self.answer({})

    def answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    global started
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    time.sleep(0.5)
    if os.environ.get("FAKE_FATE") == "early":
        sys.exit("no such flag")
    started = True
    print("Startup time: 0.5s", flush=True)
    threading.Event().wait()


main()
