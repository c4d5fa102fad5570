"""The processes of one run: how they share a step, and how their gradients are summed.

Every forward pass draws its random numbers by the batch's number (rng.py), so a step can be divided anywhere: by passes
if their number is a multiple of the processes', else by the pictures of each batch. The sum has the same terms as in a
single process; only the order of the additions differs.
"""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.errors import InputError, TrainingError
from training.sections.optimisation import Train
from training.signals import Stop

JOIN_SECONDS = 300
"""How long a process waits for the others at the start: their hosts may still be booting."""
PREPARING = timedelta(days=7)
"""Encoding a large dataset takes long; a process that dies is noticed by its parent, not by this timeout."""

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """The part of a batch's pictures that this process computes."""

    rows: slice
    weight: float
    """Its number of pictures over the batch's: the parts' means, so weighted, add up to the batch's mean."""


class ProcessGroup:
    """A single process."""

    rank, world_size = 0, 1
    writes = True
    """Whether this process writes the run's files: the first of each host does."""

    def batch_numbers(self, start: int, stop: int) -> range:
        """The batches from start to stop - 1 that this process computes, completely or in part."""
        return range(start, stop)

    def passes_per_step(self, accumulation: int) -> int:
        """Forward passes of this process in a step."""
        return accumulation

    def share(self, pictures: int) -> Share | None:
        """The pictures of a batch that are computed here; None if all are."""
        return None

    @contextmanager
    def prepare_in_turn(self) -> Iterator[None]:
        """Fill caches within: the first process of each host enters before the others."""
        yield

    def newest_checkpoint(self, checkpoint: dict[str, Any] | None) -> dict[str, Any] | None:
        """The newest checkpoint of any process."""
        return checkpoint

    def require_same(self, setting: str, value: str) -> None:
        """Raise InputError unless all processes have the same `value` of a setting that each resolves itself."""

    def broadcast_weights(self, parameters: Sequence[nn.Parameter]) -> None:
        """Broadcast the first process's weights."""

    def all_reduce(self, parameters: Sequence[nn.Parameter], loss: Tensor, stop: bool) -> tuple[Tensor, bool]:
        """Sum gradients and losses over all processes; returns the step's loss, and whether any was asked to stop.

        Raises TrainingError if another process was lost.
        """
        return loss, stop

    def close(self) -> None:
        """Leave the group."""


class DistributedGroup(ProcessGroup):
    """One of several processes, joined by torch.distributed: gloo on CPUs, NCCL on GPUs.

    `environment` has torchrun's variables RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.
    Raises TrainingError if the others do not connect, Interrupted if `stop` was requested before.
    """

    def __init__(self, train: Train, patience_s: int, stop: Stop, environment: Mapping[str, str]) -> None:
        self.rank, self.world_size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        self.writes = environment["LOCAL_RANK"] == "0"
        self._host = environment.get("GROUP_RANK", "0")
        address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        self._where = f"{address}:{port}"
        self.by_passes = train.accumulation % self.world_size == 0
        if not self.by_passes and train.batch_size < self.world_size:
            raise InputError(
                f"resources: {self.world_size} processes can't share a step of train.batch_size {train.batch_size} x "
                f"train.accumulation {train.accumulation}; make accumulation a multiple of {self.world_size}, or "
                f"batch_size at least {self.world_size}"
            )
        patience = timedelta(seconds=patience_s)
        cuda = torch.cuda.is_available() and train.device in ("auto", "cuda")
        # Waiting for the others is one long call of torch, during which no Python handler runs; nothing is lost yet.
        asks_to_stop = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            stop.check()
            self._store = dist.TCPStore(  # type: ignore[attr-defined]
                address, port, self.world_size, is_master=self.rank == 0, timeout=timedelta(seconds=JOIN_SECONDS)
            )
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo",
                store=dist.PrefixStore("run", self._store),  # type: ignore[attr-defined]
                rank=self.rank,
                world_size=self.world_size,
                timeout=patience,
            )
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                f"process {self.rank} of {self.world_size}: not all processes connected to {self._where} within "
                f"{JOIN_SECONDS} s ({_first_line(error)}); check that all hosts of the run are up and can reach this "
                "address, then resume the run"
            ) from error
        finally:
            signal.signal(signal.SIGTERM, asks_to_stop)

    def batch_numbers(self, start: int, stop: int) -> range:
        """Every world_size-th batch if passes are shared, else all of them."""
        return range(start + self.rank, stop, self.world_size) if self.by_passes else range(start, stop)

    def passes_per_step(self, accumulation: int) -> int:
        return accumulation // self.world_size if self.by_passes else accumulation

    def share(self, pictures: int) -> Share | None:
        """Every world_size-th picture, unless passes are shared."""
        if self.by_passes:
            return None
        rows = slice(self.rank, pictures, self.world_size)
        return Share(rows, len(range(*rows.indices(pictures))) / pictures)

    @contextmanager
    def prepare_in_turn(self) -> Iterator[None]:
        mark = f"prepared on {self._host}"
        if self.writes:
            yield
            self._store.set(mark, "yes")
        else:
            self._store.wait([mark], PREPARING)
            yield
        # Wait for all hosts, or the timeout of the first step's sum would start before they are ready.
        self._store.set(f"ready {self.rank}", "yes")
        self._store.wait([f"ready {rank}" for rank in range(self.world_size)], PREPARING)

    def newest_checkpoint(self, checkpoint: dict[str, Any] | None) -> dict[str, Any] | None:
        """The newest checkpoint of any process: a host that was lost may have an older one, a new host none."""
        steps: list[int] = [0] * self.world_size
        with self._peers_required():
            dist.all_gather_object(steps, checkpoint["step"] if checkpoint else 0)
            if max(steps) == 0:
                return None
            found = [checkpoint]
            dist.broadcast_object_list(found, src=steps.index(max(steps)))
        return found[0]

    def require_same(self, setting: str, value: str) -> None:
        values = [""] * self.world_size
        with self._peers_required():
            dist.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise InputError(f"{setting}: the run's processes have {', '.join(values)}; set it to one of these")

    def broadcast_weights(self, parameters: Sequence[nn.Parameter]) -> None:
        with self._peers_required(), torch.no_grad():
            for parameter in parameters:
                dist.broadcast(parameter, src=0)

    def all_reduce(self, parameters: Sequence[nn.Parameter], loss: Tensor, stop: bool) -> tuple[Tensor, bool]:
        """One all-reduce per step: all gradients, the loss and the stop flag, in one buffer."""
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        head = torch.stack([loss.float(), loss.new_tensor(float(stop), dtype=torch.float32)])
        buffer = torch.cat([head, *(part.float().flatten() for part in parts)])
        with self._peers_required():
            dist.all_reduce(buffer)
        place = 2
        for parameter, part in zip(learning, parts, strict=True):
            size = part.numel()
            parameter.grad = buffer[place : place + size].view_as(part).to(part.dtype)
            place += size
        return buffer[0], bool(buffer[1].item())

    def close(self) -> None:
        """Leave the group; the first process, whose store the others use, leaves last."""
        with self._peers_required():
            dist.barrier()
        dist.destroy_process_group()

    @contextmanager
    def _peers_required(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise TrainingError(
                f"process {self.rank} of {self.world_size} lost another one ({_first_line(error)}): its host or "
                "process has ended. The last checkpoint is kept; resume the run from it on all of its hosts, or on "
                "those that are left"
            ) from error


def select_rows(batch: T, rows: slice) -> T:
    """A dataclass of tensors and lists by picture (Batch, Noisy) with some of its pictures."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}  # type: ignore[arg-type]
    return replace(batch, **{name: value[rows] for name, value in values.items() if isinstance(value, Tensor | list)})  # type: ignore[type-var]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
