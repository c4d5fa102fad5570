"""The services that draw on a card that a training would take: how they make room, and load their models again."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from roles.onhost import gpus, loopback, services, webui_api
from roles.onhost.drawing_applications import APPLICATIONS, Application
from roles.onhost.files import read_json

UNLOAD_SECONDS = 60.0
"""How long they may take to give their memory back."""
ANSWER_SECONDS = 120.0
MARK = ".webui-unloaded"
Guest = dict[str, Any]
"""One of them, as turn.json has it by its role (`policy`, `unit`, `port`, `gpu`), and this role, `app`."""


class Refused(Exception):
    """The run can't have a turn on this host; the text says why."""


def running(wants: dict[str, Any]) -> list[Guest]:
    """Those that run, and that a run must not just share a card with."""
    told = [{**wants[app], "app": app} for app in APPLICATIONS if wants.get(app)]
    up = ("active", "activating", "reloading")
    return [guest for guest in told if guest["policy"] != "share" and services.state(guest["unit"]) in up]


def make_room(guests: list[Guest], card: dict[str, Any], need: int, folder: Path) -> str | None:
    """None if the run may use the card of these now, else what it waits for. Raises Refused."""
    for guest in guests:
        if why := _must_stay(guest, card["index"]):
            return why
    for guest in guests:
        if why := _unload(guest, folder):
            return why
    deadline, free = time.monotonic() + UNLOAD_SECONDS, 0
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            free = next((now["free"] for now in gpus.cards() if now["index"] == card["index"]), 0)
        if free >= need:
            return None
        time.sleep(1)
    load_again(folder)
    whose = " and ".join(f"{_application(guest).NAME}'s" for guest in guests)
    return f"{need} MiB on GPU {card['index']}: {free} are free with {whose} model unloaded"


def _must_stay(guest: Guest, index: str) -> str:
    """Why nothing is unloaded now; empty if it may be. Raises Refused."""
    name = _application(guest).NAME
    if guest["policy"] == "refuse":
        raise Refused(
            f"{name} uses GPU {index}, and trainer.beside_webui is refuse: stop {guest['unit']}, or set it "
            "to wait, unload or share"
        )
    if guest["policy"] == "wait":
        return f"{name} to leave GPU {index}"
    return "" if services.state(guest["unit"]) == "active" else f"{name} to have started"


def _unload(guest: Guest, folder: Path) -> str:
    """Why it could not be told to unload its models; empty if it was."""
    its = _application(guest)
    try:
        if its.KEEPS_UNLOADED:
            (folder / MARK).write_text(json.dumps(guest))
        its.unload(guest["port"], ANSWER_SECONDS)
    except loopback.AnswerError:
        if its.KEEPS_UNLOADED:
            (folder / MARK).unlink(missing_ok=True)
        return f"{its.NAME} to unload its model: it does not answer"
    return ""


def load_again(folder: Path) -> None:
    """Let the WebUI load the model that it unloaded for this run."""
    mark = folder / MARK
    webui = read_json(mark)
    if webui:
        if services.state(webui["unit"]) == "active":
            with contextlib.suppress(loopback.AnswerError):
                webui_api.load_again(webui["port"], ANSWER_SECONDS)
        mark.unlink()


def _application(guest: Guest) -> Application:
    return APPLICATIONS[guest["app"]]
