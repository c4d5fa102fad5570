"""What is said to a lab's supervisor, and what it answers: orders are one JSON line each over its control socket."""

import socket
import sys
from typing import Literal

from pydantic import Field

from inventory.errors import SdfleetError
from lab.state import Frozen, LabFolder

PYTHON = (sys.executable, "-P")
"""Python that does not look for modules in the current folder, which may be another checkout."""
READY = b"ready\n"
"""What the supervisor says on stdout when all hosts let in."""
STAY = b"stay\n"
"""What it must read on stdin to outlive whoever started it."""
GPU_BUILDS = "--gpu-builds"
"""Argument of the package proxy that makes it offer torch's builds for GPUs, too."""
BOOT_SECONDS = 90
ORDER_SECONDS = 30


class Inherited(Frozen):
    """Numbers of the open files that the supervisor gets from whoever starts it."""

    control: int
    """Listening Unix socket."""
    network: int
    """The machine's own network namespace."""
    packages: int
    """Loopback listener for the package proxy."""
    forwards: tuple[int, ...]
    """Loopback listeners, one a host, then one a service."""


class Order(Frozen):
    """Something to do, to one host unless it is a question about all."""

    what: Literal["status", "kill", "start", "cut", "restore", "keep"]
    host: str | None = None


class Answer(Frozen):
    """How things stand after the order."""

    error: str | None = None
    running: dict[str, bool] = Field(default={})
    """Whether each host is powered."""
    cut: tuple[str, ...] = ()
    """Hosts whose network cable is out."""
    dead_helpers: tuple[str, ...] = ()
    """Programs of the lab that have ended although they should not."""


def give(folder: LabFolder, order: Order) -> Answer:
    """Give the lab's supervisor an order; SdfleetError if it doesn't answer or can't do it."""
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
