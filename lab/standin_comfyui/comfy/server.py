"""The start in ComfyUI's order, and HTTP with its paths and answers, each below / and /api."""

import argparse
import asyncio
import logging
import os
import shutil
import sqlite3
import sys
import uuid
from collections.abc import Awaitable, Callable
from importlib import metadata
from typing import Any

from aiohttp import WSMsgType, web

from . import graphs, loading
from .folders import Folders
from .origin import middleware
from .queue import Queue
from .studio import Studio
from .worker import Worker

VERSION = "0.3.64"
PAGE = """<!doctype html>
<html><head><meta charset="utf-8"><title>ComfyUI</title></head>
<body><h1>Stand-in ComfyUI of sdfleet's lab</h1>
<p>This is test furniture, not ComfyUI's code. It draws real pictures through <code>/prompt</code>.</p></body></html>
"""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve(options: argparse.Namespace) -> None:
    """Serve until the process is ended. Raises RuntimeError without a GPU, unless --cpu is given, and OSError."""
    stream = sys.stdout if options.log_stdout else sys.stderr
    logging.basicConfig(level=options.verbose, format="%(message)s", stream=stream)
    folders = Folders(options)
    logging.info("Python version: %s", sys.version)
    logging.info("ComfyUI version: %s", VERSION)
    if not options.cpu:
        import torch

        torch.cuda.current_device()
    shutil.rmtree(folders.temp, ignore_errors=True)
    for folder in (folders.input, folders.user):
        folder.mkdir(parents=True, exist_ok=True)
    studio = Studio(folders, metadata=not options.disable_metadata)
    custom = [] if options.disable_all_custom_nodes else folders.kinds["custom_nodes"]
    known = loading.load_nodes(studio, custom)
    try:
        sqlite3.connect((options.database_url or f"sqlite:///{folders.user}/comfyui.db").partition("///")[2]).close()
    except sqlite3.Error as error:
        logging.error("Failed to initialize database: %s", error)
    if options.quick_test_for_ci:
        return
    folders.temp.mkdir(parents=True, exist_ok=True)
    asyncio.run(Server(options, studio, known).run())


class Server:
    """One server, its queue and its websockets."""

    def __init__(self, options: argparse.Namespace, studio: Studio, known: dict[str, Any]) -> None:
        self._options, self._studio, self._nodes = options, studio, known
        self._queue = Queue(lambda: self._tell("status", {"status": self._length()}, None))
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._number = 0

    async def run(self) -> None:
        """Serve for ever."""
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[str, dict[str, Any], str | None]] = asyncio.Queue()
        size = round(self._options.max_upload_size * 1024 * 1024)
        app = web.Application(client_max_size=size, middlewares=[middleware(self._options.enable_cors_header)])
        for method, path, handler in self._routes():
            app.router.add_route(method, path, handler)
            app.router.add_route(method, f"/api{path}", handler)
        Worker(self._queue, self._studio, self._nodes, self._tell).start()
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        logging.info("Starting server\n")
        for address in self._options.listen.split(","):
            await web.TCPSite(runner, address, self._options.port).start()
            shown = f"[{address}]" if ":" in address else address
            logging.info("To see the GUI go to: http://%s:%s", shown, self._options.port)
        while True:
            event, data, client = await self._events.get()
            chosen = [self._sockets.get(client)] if client else list(self._sockets.values())
            for socket in chosen:
                if socket is not None and not socket.closed:
                    await _send(socket, event, data)

    def _tell(self, event: str, data: dict[str, Any], client: str | None) -> None:
        self._loop.call_soon_threadsafe(self._events.put_nowait, (event, data, client))

    def _length(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self._queue.remaining()}}

    def _routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", "/", self._page),
            ("GET", "/ws", self._websocket),
            ("GET", "/system_stats", self._system),
            ("GET", "/prompt", self._prompt),
            ("POST", "/prompt", self._post_prompt),
            ("GET", "/queue", self._get_queue),
            ("POST", "/queue", self._post_queue),
            ("GET", "/history", self._history),
            ("GET", "/history/{id}", self._history),
            ("POST", "/history", self._post_history),
            ("GET", "/view", self._view),
            ("GET", "/models", self._models),
            ("GET", "/models/{kind}", self._models),
            ("GET", "/object_info", self._object_info),
            ("GET", "/object_info/{node}", self._object_info),
            ("POST", "/interrupt", self._interrupt),
            ("POST", "/free", self._free),
        ]

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=PAGE, content_type="text/html", headers={"Cache-Control": "no-cache"})

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query.get("clientId") or uuid.uuid4().hex
        self._sockets[client] = socket
        try:
            await _send(socket, "status", {"status": self._length(), "sid": client})
            async for message in socket:
                if message.type == WSMsgType.TEXT and '"feature_flags"' in message.data:
                    await _send(socket, "feature_flags", {"supports_preview_metadata": True})
        finally:
            if self._sockets.get(client) is socket:
                del self._sockets[client]
        return socket

    async def _system(self, request: web.Request) -> web.StreamResponse:
        total, free = (os.sysconf("SC_PAGE_SIZE") * os.sysconf(f"SC_{pages}_PAGES") for pages in ("PHYS", "AVPHYS"))
        memory = {"vram_total": total, "vram_free": free, "torch_vram_total": total, "torch_vram_free": free}
        device = {"name": "cpu", "type": "cpu", "index": None} | memory
        system = {
            "os": "posix",
            "ram_total": total,
            "ram_free": free,
            "comfyui_version": VERSION,
            "python_version": sys.version,
            "pytorch_version": metadata.version("torch"),
            "embedded_python": False,
            "argv": sys.argv,
        }
        return web.json_response({"system": system, "devices": [device]})

    async def _prompt(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._length())

    async def _post_prompt(self, request: web.Request) -> web.StreamResponse:
        logging.info("got prompt")
        asked = await request.json()
        if "prompt" not in asked:
            error = {"type": "no_prompt", "message": "No prompt provided", "details": "No prompt provided"}
            return web.json_response({"error": {**error, "extra_info": {}}, "node_errors": {}}, status=400)
        if "number" in asked:
            number = float(asked["number"])
        else:
            number = -self._number if asked.get("front") else self._number
            self._number += 1
        verdict = graphs.check(asked["prompt"], self._nodes)
        if verdict.error:
            logging.warning("invalid prompt: %s", verdict.error)
            return web.json_response({"error": verdict.error, "node_errors": verdict.node_errors}, status=400)
        item = str(asked.get("prompt_id") or uuid.uuid4())
        extra = {**asked.get("extra_data", {}), **({"client_id": asked["client_id"]} if "client_id" in asked else {})}
        self._queue.put((number, item, asked["prompt"], extra, verdict.outputs))
        return web.json_response({"prompt_id": item, "number": number, "node_errors": verdict.node_errors})

    async def _get_queue(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._queue.shown())

    async def _post_queue(self, request: web.Request) -> web.StreamResponse:
        self._queue.drop(waiting=_chosen(await request.json()))
        return web.Response()

    async def _history(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._queue.history(request.match_info.get("id")))

    async def _post_history(self, request: web.Request) -> web.StreamResponse:
        self._queue.drop(history=_chosen(await request.json()))
        return web.Response()

    async def _view(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get("filename", "")
        folder = self._studio.folders.shown(request.query.get("type", "output"))
        if not name:
            return web.Response(status=404 if "filename" not in request.query else 400)
        if name.startswith("/") or ".." in name or folder is None:
            return web.Response(status=400)
        place = (folder / request.query.get("subfolder", "")).resolve()
        if not place.is_relative_to(folder.resolve()):
            return web.Response(status=403)
        if not (place / name).is_file():
            return web.Response(status=404)
        return web.FileResponse(place / name, headers={"Content-Disposition": f'filename="{name}"'})

    async def _models(self, request: web.Request) -> web.StreamResponse:
        kinds = self._studio.folders.kinds
        if "kind" not in request.match_info:
            return web.json_response(list(kinds))
        kind = request.match_info["kind"]
        return web.json_response(self._studio.folders.names(kind)) if kind in kinds else web.Response(status=404)

    async def _object_info(self, request: web.Request) -> web.StreamResponse:
        wanted = request.match_info.get("node")
        chosen = {name: node for name, node in self._nodes.items() if wanted in (None, name)}
        return web.json_response({name: loading.described(name, node) for name, node in chosen.items()})

    async def _interrupt(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json() if await request.read() else {}
        running = {item[1] for item in self._queue.shown()["queue_running"]}
        if asked.get("prompt_id") in {None, *running}:
            self._studio.interrupted.set()
        return web.Response()

    async def _free(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        for name in ("unload_models", "free_memory"):
            if asked.get(name):
                self._queue.flag(name)
        return web.Response()


async def _send(socket: web.WebSocketResponse, event: str, data: dict[str, Any]) -> None:
    try:
        await socket.send_json({"type": event, "data": data})
    except ConnectionError as error:
        logging.warning("send error: %s", error)


def _chosen(asked: dict[str, Any]) -> Callable[[str], bool]:
    """Which graphs a request clears or deletes."""
    return lambda item: bool(asked.get("clear")) or item in asked.get("delete", ())
