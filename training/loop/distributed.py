"""The processes of one run: who computes which part of a step, and how their sums meet.

Every forward pass of a step draws its random numbers by the batch's number (rng.py), so a step can be cut anywhere:
by passes where their number is a multiple of the processes', else by the pictures of each batch. What is summed is the
same as in one process; only the order of the additions differs.
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
"""How long a process waits at the start for the others: their hosts may have been switched on a moment ago."""
PREPARING = timedelta(days=7)
"""Encoding a large set of pictures takes its time; a process that dies is noticed by its parent, not by this."""

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """The part of a batch's pictures that this process computes."""

    rows: slice
    weight: float
    """Its number of pictures over the batch's: means over the parts, so weighted, add up to the batch's mean."""


class Group:
    """One process by itself."""

    rank, world = 0, 1
    writes = True
    """Whether this process writes the run's files: the first one of each host does."""

    def numbers(self, start: int, stop: int) -> range:
        """The batches, of start to stop - 1, of which this process computes all or a part."""
        return range(start, stop)

    def passes(self, accumulation: int) -> int:
        """Forward passes of this process in a step."""
        return accumulation

    def share(self, pictures: int) -> Share | None:
        """Which pictures of a batch are computed here; None if all are."""
        return None

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Within, caches are filled: by the first process of a host, before the others look."""
        yield

    def newest(self, checkpoint: dict[str, Any] | None) -> dict[str, Any] | None:
        """The newest checkpoint that any process found."""
        return checkpoint

    def agree(self, setting: str, value: str) -> None:
        """Raises InputError unless all processes have one value of what each decides by its own machine."""

    def begin(self, parameters: Sequence[nn.Parameter]) -> None:
        """All processes start from the first one's weights."""

    def meet(self, parameters: Sequence[nn.Parameter], loss: Tensor, stop: bool) -> tuple[Tensor, bool]:
        """Sum gradients and losses over all processes; returns the step's loss and whether any was asked to stop.

        Raises TrainingError if another process was lost.
        """
        return loss, stop

    def close(self) -> None:
        """Leave in good order."""


class Many(Group):
    """One of several processes, joined by torch.distributed: gloo on CPUs, NCCL on GPUs.

    RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT stand in the environment, as torchrun sets them.
    Raises TrainingError if the others don't come, Interrupted if `stop` asks for an end before they are waited for.
    """

    def __init__(self, train: Train, patience_s: int, stop: Stop, environment: Mapping[str, str]) -> None:
        self.rank, self.world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        self.writes = environment["LOCAL_RANK"] == "0"
        self._host = environment.get("GROUP_RANK", "0")
        address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        self._where = f"{address}:{port}"
        self.by_passes = train.accumulation % self.world == 0
        if not self.by_passes and train.batch_size < self.world:
            raise InputError(
                f"resources: {self.world} processes can't share a step of train.batch_size {train.batch_size} x "
                f"train.accumulation {train.accumulation}; make accumulation a multiple of {self.world}, or "
                f"batch_size at least {self.world}"
            )
        patience = timedelta(seconds=patience_s)
        cuda = torch.cuda.is_available() and train.device in ("auto", "cuda")
        # Waiting for the others is one long call of torch that lets no Python handler run; nothing is lost yet.
        asks_to_stop = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            stop.check()
            self._store = dist.TCPStore(  # type: ignore[attr-defined]
                address, port, self.world, is_master=self.rank == 0, timeout=timedelta(seconds=JOIN_SECONDS)
            )
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo",
                store=dist.PrefixStore("run", self._store),  # type: ignore[attr-defined]
                rank=self.rank,
                world_size=self.world,
                timeout=patience,
            )
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                f"process {self.rank} of {self.world}: the processes did not meet at {self._where} within "
                f"{JOIN_SECONDS} s ({_first_line(error)}); see that all hosts of the run are up and reach each other "
                "there, then resume the run"
            ) from error
        finally:
            signal.signal(signal.SIGTERM, asks_to_stop)

    def numbers(self, start: int, stop: int) -> range:
        """By passes each process takes every world-th batch, else all take a part of every one."""
        return range(start + self.rank, stop, self.world) if self.by_passes else range(start, stop)

    def passes(self, accumulation: int) -> int:
        """Forward passes of this process in a step."""
        return accumulation // self.world if self.by_passes else accumulation

    def share(self, pictures: int) -> Share | None:
        """Every world-th picture, unless whole batches are shared out."""
        if self.by_passes:
            return None
        rows = slice(self.rank, pictures, self.world)
        return Share(rows, len(range(*rows.indices(pictures))) / pictures)

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """The first process of a host fills the caches, then the others, which find all there."""
        mark = f"prepared on {self._host}"
        if self.writes:
            yield
            self._store.set(mark, "yes")
        else:
            self._store.wait([mark], PREPARING)
            yield
        # All hosts are ready before the first step starts the clock of its sum.
        self._store.set(f"ready {self.rank}", "yes")
        self._store.wait([f"ready {rank}" for rank in range(self.world)], PREPARING)

    def newest(self, checkpoint: dict[str, Any] | None) -> dict[str, Any] | None:
        """A host that was lost for a while may hold an older one, a new host none."""
        steps: list[int] = [0] * self.world
        with self._all_there():
            dist.all_gather_object(steps, checkpoint["step"] if checkpoint else 0)
            if max(steps) == 0:
                return None
            found = [checkpoint]
            dist.broadcast_object_list(found, src=steps.index(max(steps)))
        return found[0]

    def agree(self, setting: str, value: str) -> None:
        """Raises InputError unless all processes have one value of what each decides by its own machine."""
        values = [""] * self.world
        with self._all_there():
            dist.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise InputError(f"{setting}: the run's processes have {', '.join(values)}; set it to one of these")

    def begin(self, parameters: Sequence[nn.Parameter]) -> None:
        """All processes start from the first one's weights."""
        with self._all_there(), torch.no_grad():
            for parameter in parameters:
                dist.broadcast(parameter, src=0)

    def meet(self, parameters: Sequence[nn.Parameter], loss: Tensor, stop: bool) -> tuple[Tensor, bool]:
        """One sum a step: all gradients, the loss and the wish to stop, in one buffer."""
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        told = torch.stack([loss.float(), loss.new_tensor(float(stop), dtype=torch.float32)])
        buffer = torch.cat([told, *(part.float().flatten() for part in parts)])
        with self._all_there():
            dist.all_reduce(buffer)
        place = 2
        for parameter, part in zip(learning, parts, strict=True):
            size = part.numel()
            parameter.grad = buffer[place : place + size].view_as(part).to(part.dtype)
            place += size
        return buffer[0], bool(buffer[1].item())

    def close(self) -> None:
        """Leave in good order: the first process, whose store the others use, goes last."""
        with self._all_there():
            dist.barrier()
        dist.destroy_process_group()

    @contextmanager
    def _all_there(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise TrainingError(
                f"process {self.rank} of {self.world} lost another one ({_first_line(error)}): its host or process "
                "has ended. The last checkpoint is kept; the run goes on from there when it is resumed, on all of "
                "its hosts or on those that are left"
            ) from error


def part(batch: T, rows: slice) -> T:
    """A dataclass of tensors and lists by picture (a Batch, Noisy), with only some of the pictures."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}  # type: ignore[arg-type]
    return replace(batch, **{name: value[rows] for name, value in values.items() if isinstance(value, Tensor | list)})  # type: ignore[type-var]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
