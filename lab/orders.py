"""Orders to a lab's supervisor and its answers: one JSON line each over its control socket."""

import socket
import sys
from typing import Literal

from pydantic import Field

from inventory.errors import SdfleetError
from lab.state import Frozen, LabFolder

PYTHON = (sys.executable, "-P")
"""Python without the current folder on sys.path, which may be another checkout."""
READY = b"ready\n"
"""The supervisor prints this when all hosts accept SSH."""
STAY = b"stay\n"
"""On stdin, makes it keep running without the process that started it."""
GPU_BUILDS = "--gpu-builds"
"""Argument of the package proxy to offer torch's builds for GPUs too."""
BOOT_SECONDS = 90
ORDER_SECONDS = 30


class Inherited(Frozen):
    """File descriptors that the supervisor inherits."""

    control: int
    """Listening Unix socket."""
    network: int
    """The machine's own network namespace."""
    packages: int
    """Loopback listener for the package proxy."""
    forwards: tuple[int, ...]
    """Loopback listeners: one per host, then one per service."""


class Order(Frozen):
    """An order for one host, or a question about all."""

    what: Literal["status", "kill", "stop", "start", "cut", "restore", "keep"]
    host: str | None = None


class Answer(Frozen):
    """The state after the order."""

    error: str | None = None
    running: dict[str, bool] = Field(default={})
    """Whether each host is powered."""
    cut: tuple[str, ...] = ()
    """Hosts whose network is cut."""
    dead_helpers: tuple[str, ...] = ()
    """Programs of the lab that have ended although they should not."""


def give(folder: LabFolder, order: Order) -> Answer:
    """Send the lab's supervisor an order. Raises SdfleetError if it does not answer or cannot do it."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ORDER_SECONDS)
            connection.connect(str(folder.control))
            connection.sendall(order.model_dump_json().encode() + b"\n")
            answer = Answer.model_validate_json(connection.makefile("rb").readline())
    except (OSError, ValueError) as error:
        raise SdfleetError(
            f"the lab in {folder.path} does not answer ({error}); see {folder.supervisor_log}"
        ) from error
    if answer.error:
        raise SdfleetError(f"the lab could not {order.what} {order.host}: {answer.error}")
    return answer
