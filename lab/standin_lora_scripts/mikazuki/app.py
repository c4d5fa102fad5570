"""The page of the submodule frontend, and as much of the original's API as starts a training and lists files."""

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse

FOLDERS = {"model-file": "sd-models", "model-saved-file": "output"}


def build() -> FastAPI:
    """The application; like the original it writes its settings, and needs the folders it works in."""
    app = FastAPI()
    tasks: dict[str, subprocess.Popen[bytes]] = {}
    Path("assets/config.json").write_text('{"saved_params": {}}')

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse("frontend/dist/index.html")

    @app.get("/api/presets")
    def presets() -> dict[str, Any]:
        return _success(presets=sorted(path.name for path in Path("config/presets").iterdir()))

    @app.get("/api/get_files")
    def files(pick_type: str) -> dict[str, Any]:
        if pick_type == "train-dir":
            found = [path for path in Path("train").iterdir() if path.is_dir()]
        else:
            found = [path for path in Path(FOLDERS[pick_type]).glob("**/*") if path.is_file() and _is_model(path)]
        return _success(files=[{"path": str(path.resolve()), "name": path.name} for path in sorted(found)])

    @app.post("/api/run")
    async def run(request: Request) -> dict[str, Any]:
        config = await request.json()
        file = Path("config/autosave") / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
        file.write_text(json.dumps(config))
        task = str(uuid.uuid4())
        tasks[task] = subprocess.Popen([sys.executable, "scripts/stable/train_network.py", str(file.resolve())])
        return _success(message=f"Training started ID: {task}")

    @app.get("/api/tasks")
    def states() -> dict[str, Any]:
        return _success(tasks=[{"id": i, "running": task.poll() is None} for i, task in tasks.items()])

    return app


def _is_model(path: Path) -> bool:
    return path.resolve().suffix in (".safetensors", ".ckpt", ".pt")


def _success(message: str = "", **data: Any) -> dict[str, Any]:
    return {"status": "success", "message": message, "data": data}
