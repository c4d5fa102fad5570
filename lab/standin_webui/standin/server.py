"""Start-up in the original's order, and everything that is not the API: the page, files, ping."""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse

from .options import CODE

PAGE = """<!doctype html>
<html><head><meta charset="utf-8"><title>Stand-in WebUI</title><script src="file=script.js"></script></head>
<body><h1>Stand-in WebUI of sdfleet's lab</h1>
<p>This is test furniture, not AUTOMATIC1111's code. It draws real pictures through
<code>/sdapi/v1/txt2img</code>.</p></body></html>
"""


def serve(options: argparse.Namespace) -> int:
    """Serve until the process is ended; returns 1 when the start fails.

    The port opens before the API is there, as in the original: a request in between makes the set-up of the
    API fail, because the application has started.
    """
    if os.geteuid() == 0:
        print("ERROR: This script must not be launched as root, aborting...", file=sys.stderr)
        return 1
    started = time.perf_counter()
    (CODE / "config_states").mkdir(exist_ok=True)
    models = [options.models_dir / name for name in ("Stable-diffusion", "hypernetworks")]
    for folder in (*models, options.lora_dir, options.data_dir / "cache"):
        folder.mkdir(parents=True, exist_ok=True)
    app = FastAPI(title="Stand-in WebUI", docs_url="/docs")
    address = options.server_name or ("0.0.0.0" if options.listen else "127.0.0.1")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, options.port))
    listener.listen(128)
    # Without lifespan: its start-up event would count as the application's start.
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    web = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    web.start()
    print(f"Running on local URL:  http://{address}:{options.port}", flush=True)
    studio = None
    try:
        from .api import build

        studio, settings = build(app, options)
        _add_page(app, options)
    except RuntimeError as error:
        print(f"RuntimeError: {error}", file=sys.stderr)
        return 1
    studio.load_in_background(settings.get("sd_model_checkpoint"))
    version()
    print(f"Startup time: {time.perf_counter() - started:.1f}s", flush=True)
    web.join()
    return 0


def version() -> str:
    """What the page names as the version. As in the original git's complaint goes to the log, where there is no tag."""
    try:
        return subprocess.check_output(["git", "-C", str(CODE), "describe", "--tags"], encoding="utf8").strip()
    except (OSError, subprocess.CalledProcessError):
        return "<none>"


def _add_page(app: FastAPI, options: argparse.Namespace) -> None:
    if not options.nowebui:
        app.get("/", response_class=HTMLResponse)(lambda: PAGE)
    app.get("/internal/ping")(lambda: {})
    app.get("/internal/sysinfo", response_class=PlainTextResponse)(lambda: json.dumps(_system(options), indent=4))

    @app.get("/file={path:path}")
    def file(path: str) -> FileResponse:
        """Everything below the working directory and the data folder, to anyone: as the original does."""
        wanted = Path(path).resolve()
        if not any(wanted.is_relative_to(folder.resolve()) for folder in (Path.cwd(), options.data_dir)):
            raise HTTPException(403, f"File not allowed: {path}.")
        if not wanted.is_file():
            raise HTTPException(404, f"File not found: {path}.")
        return FileResponse(wanted)


def _system(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "Platform": sys.platform,
        "Python": sys.version.split()[0],
        "Version": "stand-in",
        "Script path": str(CODE),
        "Data path": str(options.data_dir),
        "Commandline": sys.argv,
        "Environment": {"COMMANDLINE_ARGS": os.environ.get("COMMANDLINE_ARGS", "")},
    }
