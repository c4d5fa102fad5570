"""Watch a service that draws for the gates of a rollout. Runs on its host; see the package's docstring."""

from __future__ import annotations

import base64
import contextlib
import time
from functools import partial
from pathlib import Path
from typing import Any

from deploy.onhost.picture_cost import measured
from deploy.onhost.run_states import active_units
from roles.onhost import (
    comfyui_api,
    comfyui_picture,
    journal,
    loopback,
    nofollow,
    own_archive,
    services,
    webui_api,
    webui_png,
)
from roles.onhost.png_pixels import PictureError

PROMPT, STEPS, SEED = "a red apple on a wooden table", 4, 1234567
PICTURE = {
    "prompt": PROMPT,
    "negative_prompt": "",
    "sampler_name": "Euler",
    "steps": STEPS,
    "cfg_scale": 7,
    "width": 64,
    "height": 64,
    "seed": SEED,
}
"""The picture that each release generates; the seed and a sampler without noise make it the same every time."""
ALIVE = {"webui": "/internal/ping", "comfyui": "/system_stats"}
"""Application -> what it answers while it is healthy."""

FORMATS = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF"}
"""First bytes of a picture, for each format that a WebUI can save."""
LARGEST = 4_000_000
"""Largest answer that is read, in bytes: the picture has 64 by 64 pixels, and 12 kB at most."""
LOOK_SECONDS = 0.5
ANSWER_SECONDS = 10
START_SECONDS = 600
"""How long after a service was ready its journal still counts as that of its start: an old release may have run for
days and logged what people asked of it, a new one has run for minutes."""
LINES = 4000
"""Lines of each part of the journal that are read."""
LONGEST = 400
"""Longest part of a journal line that is read, in bytes."""
MOST_ERRORS = 500
"""Kinds of errors that are told of each part."""


def main(
    app: str,
    apps: str,
    unit: str,
    state: str,
    port: int,
    seconds: float,
    stable_seconds: float,
    picture_seconds: float,
    convert: list[str],
    pictures: int = 0,
) -> dict[str, Any]:
    """Watch an application (webui, comfyui) for `seconds`, let it generate a picture, and read its journal.

    `failed` is the gate that was not passed and `said` why; both are empty if all were passed. `picture` is a PNG in
    base64, `format` the format that it sent. Two parts of the journal are read, the same for every release:
    that of the start, and from `stable_seconds` before the picture to its end (`late_errors`); `errors` are those of
    both. `start_known` is false if the journal no longer reaches back to the start.

    + pictures: how many further ones are drawn to be measured (see picture_cost); `unmeasured` is why they were not
    + convert: the words before the program that converts a picture: a Python with Pillow
    """
    begun = time.time()
    seen: dict[str, Any] = {**dict.fromkeys(("failed", "said", "picture", "format", "model"), ""), "serving": False}
    seen["releases"] = {
        link.parent.name: link.readlink().name for link in Path(apps).glob("*/current") if link.is_symlink()
    }
    seen["runs"] = _runs()
    try:
        service = _watch(unit, state, port, ALIVE[app], seconds)
        seen["serving"] = True
        seen.update(fingerprint=service["fingerprint"], ready=service["problem"] == "")
        if seen["ready"]:
            draw = partial(_draw if app == "webui" else _draw_graph, port, picture_seconds)
            seen["model"], drawn = draw()
            seen["format"], seen["picture"] = _png(drawn, convert)
            if seen["picture"] and pictures:
                try:
                    cost = measured(app, unit, port, draw, pictures)
                except GateError as error:  # of a further picture: the gate's own was drawn
                    cost = {"unmeasured": error.args[1]}
                # A training takes the card or the processors, which says nothing of the release.
                training = " ".join(sorted({*seen["runs"], *_runs()}))
                seen.update({"unmeasured": f"a training was at work there: {training}"} if training else cost)
        _same_process(unit, service["process"])
    except GateError as error:
        seen["failed"], seen["said"] = error.args
    return seen | _journal_errors(unit, begun - (stable_seconds - seconds))


def _runs() -> list[str]:
    """The units of the runs that are at work; none if that is unknown."""
    with contextlib.suppress(OSError):
        return active_units()
    return []


class GateError(Exception):
    """A gate was not passed: its name and the reason."""


def _watch(unit: str, state: str, port: int, alive: str, seconds: float) -> dict[str, Any]:
    """The service's state file, after it ran and answered for `seconds` without a restart."""
    deadline = time.monotonic() + seconds
    process = _process(unit)
    service = nofollow.read_json(state)
    if not {"ready", "problem", "fingerprint"} <= service.keys():
        raise GateError("stable", f"{unit} is not up")
    if not service["ready"]:
        raise GateError("stable", f"{unit} is not ready: {service['problem']}")
    service["process"] = process
    while True:
        _same_process(unit, process)
        _ask(port, alive, None, ANSWER_SECONDS, "health")
        if time.monotonic() >= deadline:
            return service
        time.sleep(LOOK_SECONDS)


def _same_process(unit: str, process: str) -> None:
    now = _process(unit)
    if now != process or not now.startswith("active "):
        raise GateError("stable", f"{unit} was {process}, and is now {now} (state, restarts, process)")


def _process(unit: str) -> str:
    try:
        found = services.shown(unit, "ActiveState", "NRestarts", "MainPID")
    except TimeoutError as slow:
        raise GateError("stable", f"the state of {unit} is unknown: {slow}") from slow
    return f"{found.get('ActiveState')} {found.get('NRestarts')} {found.get('MainPID')}"


def _draw(port: int, seconds: float) -> tuple[str, str]:
    """The loaded model and its picture in base64."""
    drawn = _ask(port, "/sdapi/v1/txt2img", PICTURE, seconds, "picture")
    options = _ask(port, "/sdapi/v1/options", None, ANSWER_SECONDS, "health")
    try:
        return str(options.get("sd_model_checkpoint"))[:300], str(drawn["images"][0])
    except (LookupError, TypeError, AttributeError) as error:
        raise GateError("picture", f"/sdapi/v1/txt2img answered without a picture: {str(drawn)[:200]}") from error


def _draw_graph(port: int, seconds: float) -> tuple[str, str]:
    """The same of ComfyUI."""
    try:
        model = comfyui_api.checkpoints(port, ANSWER_SECONDS)[0]
        graph = comfyui_picture.graph(model, PROMPT, STEPS, SEED)
        return model[:300], base64.b64encode(comfyui_picture.draw(port, seconds, graph)).decode()
    except (PictureError, loopback.AnswerError) as error:
        raise GateError("picture", str(error)) from error
    except IndexError as error:
        raise GateError("picture", "it has no checkpoint any more") from error


def _png(drawn: str, convert: list[str]) -> tuple[str, str]:
    """The format of a picture in base64, and the picture as PNG; unchanged if it is no picture."""
    try:
        picture = base64.b64decode(drawn, validate=True)
    except ValueError:
        return "", drawn
    found = next((name for name, mark in FORMATS.items() if picture.startswith(mark)), "")
    if found in ("", "png"):
        return found, drawn
    done = own_archive.run(webui_png.__name__, picture, convert)
    if done.returncode:
        raise GateError("picture", done.stderr.decode(errors="replace").strip()[-300:])
    return found, base64.b64encode(done.stdout).decode()


def _ask(port: int, path: str, body: dict[str, Any] | None, seconds: float, gate: str) -> Any:
    """JSON of one request, a POST if there is a body. Raises GateError for `gate` if there is no answer or no JSON."""
    try:
        return webui_api.ask(port, path, body, seconds, LARGEST)
    except loopback.AnswerError as error:
        raise GateError(gate, f"{path} {error}") from error


def _journal_errors(unit: str, since: float) -> dict[str, Any]:
    """The errors in the journal: of the service's start, and `since` (s since the epoch)."""
    start = _start_errors(unit)
    lately = _errors(unit, since=since) or []
    kinds = journal.kinds([*(start or []), *lately])
    return {"errors": kinds, "late_errors": lately, "start_known": start is not None}


def _start_errors(unit: str) -> list[str] | None:
    """The errors of the service's start; None if the journal does not reach back to it."""
    names = ("InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    try:
        found = services.shown(unit, *names)
        started, ready = (int(found.get(name) or 0) for name in names)
    except (TimeoutError, ValueError):
        return None
    past = max(time.monotonic() - ready / 1e6, 0) if ready >= started else 0  # not ready yet: it starts now
    return _errors(unit, until=time.time() - past + START_SECONDS)


def _errors(unit: str, since: float | None = None, until: float | None = None) -> list[str] | None:
    """The errors in a part of what the service wrote since its last start; None if there is no line."""
    lines = services.manager().lines_of_start(unit, LINES, LONGEST, since, until)
    return journal.kinds(text for _, text in journal.errors(lines))[:MOST_ERRORS] if lines else None
