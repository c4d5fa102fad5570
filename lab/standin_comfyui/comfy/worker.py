"""The thread that computes graphs one after the other, and keeps the results of the last one's nodes."""

import logging
import threading
import time
import traceback
from typing import Any, Protocol

from .graphs import Graph, key_of
from .queue import Item, Queue
from .studio import Interrupted, Studio


class Tell(Protocol):
    """Sends an event to a client's websocket; to all if there is no client."""

    def __call__(self, event: str, data: dict[str, Any], client: str | None) -> None: ...


class Worker(threading.Thread):
    """Computes what is in the queue."""

    def __init__(self, queue: Queue, studio: Studio, nodes: dict[str, Any], tell: Tell) -> None:
        super().__init__(daemon=True)
        self._queue, self._studio, self._nodes, self._tell = queue, studio, nodes, tell
        self._kept: dict[str, tuple[tuple[Any, ...], dict[str, Any] | None]] = {}
        """What nodes returned, and their pictures, by the nodes' keys."""

    def run(self) -> None:
        """Compute for ever."""
        while True:
            if item := self._queue.take():
                began = time.perf_counter()
                self._queue.done(item, Run(item, self._studio, self._nodes, self._tell, self._kept).result())
                self._tell("executing", {"node": None, "prompt_id": item[1]}, item[3].get("client_id"))
                logging.info("Prompt executed in %.2f seconds", time.perf_counter() - began)
            flags = self._queue.flags()
            if flags:
                self._studio.unload()
            if "free_memory" in flags:
                self._kept.clear()


class Run:
    """One graph."""

    def __init__(self, item: Item, studio: Studio, nodes: dict[str, Any], tell: Tell, kept: dict[str, Any]) -> None:
        _, self._id, self._graph, self._extra, self._wanted = item
        self._studio, self._nodes, self._tell, self._kept = studio, nodes, tell, kept
        self._client = self._extra.get("client_id")
        self._messages: list[tuple[str, dict[str, Any]]] = []
        self._executed: list[str] = []
        self._node = ""

    def result(self) -> dict[str, Any]:
        """Compute it; its entry in the history."""
        graph: Graph = self._graph
        self._studio.interrupted.clear()
        keys = {name: key_of(graph, name) for name in graph}
        self._say("execution_start")
        for old in self._kept.keys() - set(keys.values()):
            del self._kept[old]
        self._say("execution_cached", nodes=[name for name, key in keys.items() if key in self._kept])
        completed = False
        try:
            for name in self._wanted:
                self._compute(name, keys)
            self._say("execution_success")
            completed = True
        except Interrupted:
            logging.info("Processing interrupted")
            self._say("execution_interrupted", **self._place())
        except Exception as error:
            logging.error("!!! Exception during processing !!! %s\n%s", error, traceback.format_exc())
            kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
            told = {"exception_message": f"{error}\n", "exception_type": kind}
            trace = traceback.format_tb(error.__traceback__)
            self._say(
                "execution_error", **self._place(), **told, traceback=trace, current_inputs={}, current_outputs=[]
            )
        pictures = {name: shown for name, key in keys.items() if (shown := self._kept.get(key, ((), None))[1])}
        parents: dict[str, Any] = {"parent_node": None}
        return {
            "outputs": pictures,
            "status": {
                "status_str": "success" if completed else "error",
                "completed": completed,
                "messages": self._messages,
            },
            "meta": {
                name: {"node_id": name, "display_node": name, "real_node_id": name, **parents} for name in pictures
            },
        }

    def _compute(self, name: str, keys: dict[str, str]) -> tuple[Any, ...]:
        """What a node returns, computed unless it is known."""
        if keys[name] in self._kept:
            known: tuple[Any, ...] = self._kept[keys[name]][0]
            return known
        node = self._graph[name]
        given = {}
        for key, value in node.get("inputs", {}).items():
            given[key] = self._compute(value[0], keys)[value[1]] if isinstance(value, list) else value
        self._node = name
        self._studio.check()
        self._send("executing", {"node": name, "display_node": name})
        self._studio.tell = lambda done, steps: self._send("progress", {"value": done, "max": steps, "node": name})
        kind = self._nodes[node["class_type"]]
        inputs = kind.INPUT_TYPES()
        given = {key: value for key, value in given.items() if any(key in group for group in inputs.values())}
        hidden = {"PROMPT": self._graph, "EXTRA_PNGINFO": self._extra.get("extra_pnginfo"), "UNIQUE_ID": name}
        given |= {key: hidden.get(value) for key, value in inputs.get("hidden", {}).items()}
        made = getattr(kind(), kind.FUNCTION)(**given)
        shown = made.get("ui") if isinstance(made, dict) else None
        made = made.get("result", ()) if isinstance(made, dict) else made
        self._kept[keys[name]] = (made, shown)
        self._executed.append(name)
        if shown:
            self._send("executed", {"node": name, "display_node": name, "output": shown})
        return tuple(made)

    def _place(self) -> dict[str, Any]:
        node = self._graph[self._node or self._wanted[0]]
        return {"node_id": self._node, "node_type": node["class_type"], "executed": self._executed}

    def _say(self, event: str, **data: Any) -> None:
        """Put a message into the history, and send it to the client."""
        data = {"prompt_id": self._id, **data, "timestamp": int(time.time() * 1000)}
        self._messages.append((event, data))
        self._send(event, data)

    def _send(self, event: str, data: dict[str, Any]) -> None:
        if self._client:
            self._tell(event, {**data, "prompt_id": self._id}, self._client)
