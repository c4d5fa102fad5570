"""Starts the processes of a run on this host, and ends them together.

torchrun would do, but it kills its workers 30 s after a SIGTERM, which may be too early for a last checkpoint.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import TrainingError
from training.signals import Stop

GRACE_SECONDS = 570
"""Time for a last checkpoint; a little less than the unit's TimeoutStopSec."""
PEER_SECONDS = 60
"""Time for the other processes to notice that one has failed."""
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Nodes:
    """The hosts of the run, and this host's position."""

    count: int = 1
    rank: int = 0
    meet: str = ""
    """HOST:PORT of the first host, to which the others connect; empty for a run on one host."""


def launch_processes(config: Path, run: Path, gpus: int, nodes: Nodes, stop: Stop) -> int:
    """Run `gpus` processes to their end; returns the exit code of the first that failed.

    Raises TrainingError if --meet is not HOST:PORT.
    """
    address, _, port = (nodes.meet or f"127.0.0.1:{_free_port()}").rpartition(":")
    if not address or not port.isdigit():
        raise TrainingError(f"--meet {nodes.meet}: must be HOST:PORT of the run's first host")
    visible = _visible()
    processes = []
    for local in range(gpus):
        environment = {
            **os.environ,
            "RANK": str(nodes.rank * gpus + local),
            "LOCAL_RANK": str(local),
            "GROUP_RANK": str(nodes.rank),
            "WORLD_SIZE": str(nodes.count * gpus),
            "MASTER_ADDR": address,
            "MASTER_PORT": port,
        }
        if gpus > 1:
            # A single process keeps torch's default: the number of threads affects rounding.
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // gpus)))
        if visible:
            environment["CUDA_VISIBLE_DEVICES"] = visible[local % len(visible)]
        # -P: a folder named `training` in the working directory must not be imported instead.
        program = [sys.executable, "-P", "-c", "from training.cli import run; run()"]
        processes.append(subprocess.Popen([*program, "run", str(config), "--run", str(run)], env=environment))
    return _wait(processes, stop)


def _visible() -> list[str]:
    """The GPUs that this run may use, as in CUDA_VISIBLE_DEVICES; empty if there are none."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def _wait(processes: Sequence["subprocess.Popen[bytes]"], stop: Stop) -> int:
    """Wait until all have ended. A stop is passed on; if one fails, the others get time to notice, then are killed."""
    terminated, deadline, code = False, float("inf"), 0
    while any(process.poll() is None for process in processes):
        failed = [process.returncode for process in processes if process.poll()]
        if failed and not code:
            code, deadline = failed[0], min(deadline, time.monotonic() + PEER_SECONDS)
        if stop.asked and not terminated:
            terminated, deadline = True, min(deadline, time.monotonic() + GRACE_SECONDS)
            for process in processes:
                process.terminate()
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(POLL_SECONDS)
    codes = [process.returncode for process in processes if process.returncode]
    if terminated and all(found == -signal.SIGTERM for found in codes):
        return 0
    code = code or next(iter(codes), 0)
    return code if code >= 0 else 1
