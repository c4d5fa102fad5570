"""The API below /sdapi/v1, with the original's paths and answers."""

import argparse
import base64
import io
import json
import random
import time
from pathlib import Path
from typing import Any

from drawing.painter import SAMPLERS, Order
from fastapi import FastAPI, HTTPException
from fastapi.middleware.cors import CORSMiddleware
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel, ConfigDict, Field

from .lora import shown_metadata
from .pictures import Drawn, Studio

VERSION = "v1.10.1-standin"


class Txt2Img(BaseModel):
    """The request of txt2img; keys beyond these are accepted and echoed, without effect."""

    model_config = ConfigDict(extra="allow")

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    steps: int = Field(default=50, ge=1, le=150)
    cfg_scale: float = 7.0
    width: int = Field(default=512, ge=64, multiple_of=8)
    height: int = Field(default=512, ge=64, multiple_of=8)
    batch_size: int = Field(default=1, ge=1, le=8)
    n_iter: int = Field(default=1, ge=1)
    sampler_name: str | None = None
    sampler_index: str = "Euler"
    send_images: bool = True
    save_images: bool = False
    override_settings: dict[str, Any] | None = None


class Settings:
    """The options of config.json in the data folder."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._values: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def get(self, name: str) -> Any:
        """One option, None if it was never set."""
        return self._values.get(name)

    def all(self) -> dict[str, Any]:
        """All options."""
        return {"samples_save": True, "samples_format": "png", "CLIP_stop_at_last_layers": 1} | self._values

    def change(self, values: dict[str, Any]) -> None:
        """Set options and save them."""
        self._values |= values
        self._file.write_text(json.dumps(self._values, indent=4))


def build(app: FastAPI, options: argparse.Namespace) -> tuple[Studio, Settings]:
    """Add the API to `app`; a RuntimeError if it has served a request already."""
    studio = Studio(options.ckpt_dir or options.models_dir / "Stable-diffusion", options.lora_dir)
    settings = Settings(options.data_dir / "config.json")
    app.add_middleware(CORSMiddleware, allow_methods=["*"], allow_origin_regex="https?://localhost(:[0-9]+)?")
    if options.api:
        _add_lists(app, studio)
        _add_state(app, studio, settings)
        _add_txt2img(app, studio, settings, options.data_dir)
    return studio, settings


def _add_lists(app: FastAPI, studio: Studio) -> None:
    @app.get("/sdapi/v1/sd-models")
    def sd_models() -> list[dict[str, Any]]:
        return [
            {
                "title": studio.title(path),
                "model_name": path.stem,
                "hash": studio.sha256(path)[:10],
                "sha256": studio.sha256(path),
                "filename": str(path),
                "config": None,
            }
            for path in studio.checkpoint_files()
        ]

    @app.get("/sdapi/v1/loras")
    def loras() -> list[dict[str, Any]]:
        return [
            {"name": name, "alias": name, "path": str(path), "metadata": shown_metadata(path)}
            for name, path in studio.lora_files().items()
        ]

    @app.get("/sdapi/v1/samplers")
    def samplers() -> list[dict[str, Any]]:
        return [{"name": name, "aliases": [], "options": {}} for name in SAMPLERS]

    # Folders are read on every request, so that there is nothing to refresh.
    app.post("/sdapi/v1/refresh-checkpoints")(lambda: None)
    app.post("/sdapi/v1/refresh-loras")(lambda: None)


def _add_state(app: FastAPI, studio: Studio, settings: Settings) -> None:
    @app.get("/sdapi/v1/options")
    def options() -> dict[str, Any]:
        values = settings.all()
        if studio.loaded:
            values["sd_model_checkpoint"] = studio.title(studio.loaded)
            values["sd_checkpoint_hash"] = studio.sha256(studio.loaded)
        return values

    @app.post("/sdapi/v1/options")
    def change(values: dict[str, Any]) -> None:
        if name := values.get("sd_model_checkpoint"):
            try:
                studio.load(name)
            except FileNotFoundError as error:
                raise HTTPException(500, f"model {name!r} not found") from error
        settings.change(values)

    @app.get("/sdapi/v1/progress")
    def progress() -> dict[str, Any]:
        now = studio.progress
        state = {
            "skipped": False,
            "interrupted": now.interrupted,
            "job": now.job,
            "job_count": 1 if now.job else 0,
            "job_timestamp": studio.last_job,
            "job_no": 0,
            "sampling_step": now.step,
            "sampling_steps": now.steps,
        }
        done = now.step / now.steps if now.steps else 0.0
        return {"progress": done, "eta_relative": 0.0, "state": state, "current_image": None, "textinfo": None}

    @app.post("/sdapi/v1/interrupt")
    def interrupt() -> dict[str, Any]:
        studio.progress.interrupted = True
        return {}


def _add_txt2img(app: FastAPI, studio: Studio, settings: Settings, data: Path) -> None:
    @app.post("/sdapi/v1/txt2img")
    def txt2img(request: Txt2Img) -> dict[str, Any]:
        order = _order(request)
        override = (request.override_settings or {}).get("sd_model_checkpoint")
        try:
            drawn = studio.draw(order, override or (None if studio.loaded else settings.get("sd_model_checkpoint")))
        except FileNotFoundError as error:
            raise HTTPException(500, str(error)) from error
        texts = [_infotext(order, seed, drawn, studio) for seed in order.seeds]
        kind = str(settings.all()["samples_format"]).lower()
        files = [_file(image, text, kind) for image, text in zip(drawn.images, texts, strict=True)]
        (data / "params.txt").write_text(texts[0])
        if request.save_images:
            folder = data / "outputs/txt2img-images" / time.strftime("%Y-%m-%d")
            folder.mkdir(parents=True, exist_ok=True)
            for seed, file in zip(order.seeds, files, strict=True):
                (folder / f"{time.time_ns()}-{seed}.{kind}").write_bytes(file)
        return {
            "images": [base64.b64encode(file).decode() for file in files] if request.send_images else [],
            "parameters": request.model_dump(),
            "info": json.dumps(_info(order, drawn, texts, studio)),
        }


def _order(request: Txt2Img) -> Order:
    sampler = request.sampler_name or request.sampler_index
    if sampler not in SAMPLERS:
        raise HTTPException(404, "Sampler not found")
    fields = ("prompt", "negative_prompt", "steps", "cfg_scale", "width", "height")
    values = {name: getattr(request, name) for name in fields}
    first = request.seed if request.seed >= 0 else random.randrange(2**32)
    return Order(**values, seeds=range(first, first + request.batch_size * request.n_iter), sampler=sampler)


def _infotext(order: Order, seed: int, drawn: Drawn, studio: Studio) -> str:
    assert studio.loaded is not None
    facts = {
        "Steps": order.steps,
        "Sampler": order.sampler,
        "CFG scale": order.cfg_scale,
        "Seed": seed,
        "Size": f"{order.width}x{order.height}",
        "Model hash": studio.sha256(studio.loaded)[:10],
        "Model": studio.loaded.stem,
    }
    if drawn.loras:
        facts["Lora hashes"] = '"' + ", ".join(f"{name}: {value}" for name, value in drawn.loras.items()) + '"'
    facts["Version"] = VERSION
    negative = f"\nNegative prompt: {order.negative_prompt}" if order.negative_prompt else ""
    return f"{order.prompt}{negative}\n" + ", ".join(f"{name}: {value}" for name, value in facts.items())


def _info(order: Order, drawn: Drawn, texts: list[str], studio: Studio) -> dict[str, Any]:
    assert studio.loaded is not None
    seeds = list(order.seeds)
    return {
        "prompt": order.prompt,
        "all_prompts": [order.prompt] * len(seeds),
        "negative_prompt": order.negative_prompt,
        "all_negative_prompts": [order.negative_prompt] * len(seeds),
        "seed": seeds[0],
        "all_seeds": seeds,
        "width": order.width,
        "height": order.height,
        "sampler_name": order.sampler,
        "cfg_scale": order.cfg_scale,
        "steps": order.steps,
        "batch_size": len(seeds),
        "sd_model_name": studio.loaded.stem,
        "sd_model_hash": studio.sha256(studio.loaded)[:10],
        "index_of_first_image": 0,
        "infotexts": texts,
        "job_timestamp": time.strftime("%Y%m%d%H%M%S"),
        "clip_skip": 1,
        "version": VERSION,
    }


def _file(image: Any, text: str, kind: str) -> bytes:
    """The picture as the option samples_format wants it: so does the API of the real one answer, too."""
    buffer = io.BytesIO()
    if kind == "png":
        info = PngInfo()
        info.add_text("parameters", text)
        image.save(buffer, "png", pnginfo=info)
    else:
        image.convert("RGB").save(buffer, {"jpg": "jpeg"}.get(kind, kind))
    return buffer.getvalue()
