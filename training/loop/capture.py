"""Forward and backward pass as CUDA graphs: recorded once for each shape, then replayed.

A small batch leaves a fast card waiting while Python queues some five thousand kernels one by one; a graph queues them
at once. Gradient scaler, clipping and optimiser stay outside. What a graph reads and writes keeps its place in memory:
the inputs are copied into buffers of its own, the gradients are summed into one buffer a tensor.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from training.config import Config
from training.data.dataset import Batches
from training.data.order import Shape as BatchShape
from training.errors import InputError, TrainingError
from training.loop.inputs import Inputs, Shape

Run = Callable[[], None]
Compute = Callable[[Inputs], Tensor]
"""Forward and backward pass of inputs on the device: adds to the gradients, returns the loss without a graph."""

WARM_UP = 3
"""Passes before a capture (torch's notes on CUDA graphs): kernels and libraries are loaded by then."""
MOST = 16
"""Shapes that are captured at most, those with most passes first: each graph takes time and memory of its own."""
WORTH = 20
"""Passes below which a shape is not captured: warming up and capturing take as long as some of them."""
GRAPH_BYTES = 64 << 20
"""Memory that a graph takes beside its tensors: a guess, not measured."""


class Backend(Protocol):
    """What captures: CudaGraphs, or a stand-in in tests."""

    def warm_up(self, run: Run) -> int:
        """Run for real; returns the bytes that it took for the time being."""

    def room(self) -> int:
        """Bytes that are free or would be if the allocator gave back what it keeps."""

    def capture(self, run: Run) -> Run:
        """Record what `run` queues, without doing it; returns what does it."""

    def release(self) -> None:
        """Give the memory of graphs back that nothing refers to any more."""


class CudaGraphs:
    """torch's CUDA graphs; all share one memory pool.

    They may: none runs beside another, and what one leaves behind (its loss) is kept from being used again.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, run: Run) -> int:
        """On a stream of its own, as captures run; see Backend."""
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            run()
        torch.cuda.current_stream().wait_stream(stream)
        return torch.cuda.max_memory_allocated() - before

    def room(self) -> int:
        """See Backend."""
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]

    def capture(self, run: Run) -> Run:
        """See Backend."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            run()
        return graph.replay

    def release(self) -> None:
        """See Backend."""
        torch.cuda.empty_cache()
        self._pool = torch.cuda.graph_pool_handle()


class Eager:
    """Passes that are queued kernel by kernel."""

    sentence = "not captured"

    def __init__(self, compute: Compute, device: torch.device) -> None:
        self._compute, self._device = compute, device

    def __call__(self, inputs: Inputs) -> Tensor:
        """The loss of a pass; its gradients are added to the parameters'."""
        return self._compute(inputs.on(self._device))

    def rest(self) -> None:
        """Make room for something else than steps."""


class Captured:
    """Passes that are replayed where their shape was captured, and queued kernel by kernel where not."""

    def __init__(
        self, compute: Compute, parameters: Sequence[nn.Parameter], device: torch.device, backend: Backend
    ) -> None:
        self._compute, self._parameters = compute, list(parameters)
        self._device, self._backend = device, backend
        self._totals = [torch.zeros_like(parameter) for parameter in parameters]
        self._inputs: dict[Shape, Inputs] = {}
        self._graphs: dict[Shape, tuple[Run, list[Tensor]]] = {}

    @property
    def sentence(self) -> str:
        """What to tell of it."""
        count = len(self._inputs)
        return f"captured into {count} CUDA graph{'s' if count > 1 else ''}"

    def prepare(self, samples: Sequence[Inputs]) -> None:
        """Capture the shapes of `samples`; nothing that is trained changes, nor does any random draw.

        All are warmed up before the first is captured: a graph's memory is not free for anything else.
        Raises RuntimeError if the memory does not suffice or a pass cannot be captured.
        """
        self._inputs = {inputs.shape: inputs.copied(self._device) for inputs in samples}
        with self._draws_kept():
            taken = [self._warm_up(inputs) for inputs in self._inputs.values()]
        needed, room = max(taken) + GRAPH_BYTES * len(taken), self._backend.room()
        if needed > room:
            raise RuntimeError(f"it needs {needed >> 20} MB more, and {room >> 20} MB are free")
        self._capture()

    def __call__(self, inputs: Inputs) -> Tensor:
        """The loss of a pass; its gradients are added to the parameters'."""
        if self._inputs and not self._graphs:
            self._capture()
        if self._parameters[0].grad is None:
            # The last step's gradients were forgotten: this is the first pass of another one.
            torch._foreach_zero_(self._totals)
        captured = self._graphs.get(inputs.shape)
        if captured is None:
            loss = self._pass(inputs.on(self._device))
        else:
            replay, kept = captured
            own = self._inputs[inputs.shape].tensors()
            for name, value in inputs.tensors().items():
                own[name].copy_(value, non_blocking=True)
            replay()
            loss = kept[0].clone()
        for parameter, total in zip(self._parameters, self._totals, strict=True):
            parameter.grad = total
        return loss

    def rest(self) -> None:
        """Make room for something else than steps; the next pass captures again."""
        self._graphs.clear()
        self._backend.release()

    def _capture(self) -> None:
        # The largest first: the others then fit into its memory.
        with self._draws_kept():
            for shape in sorted(self._inputs, key=lambda shape: -sum(math.prod(size) for _, size, _ in shape)):
                self._graphs[shape] = self._record(self._inputs[shape])

    @contextmanager
    def _draws_kept(self) -> Iterator[None]:
        """Afterwards torch's global generators stand where they stood."""
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if self._device.type == "cuda" else []):
            yield

    def _record(self, inputs: Inputs) -> tuple[Run, list[Tensor]]:
        kept: list[Tensor] = []

        def run() -> None:
            kept[:] = [self._pass(inputs)]

        return self._backend.capture(run), kept

    def _warm_up(self, inputs: Inputs) -> int:
        def run() -> None:
            for _ in range(WARM_UP):
                self._pass(inputs)

        return self._backend.warm_up(run)

    def _pass(self, inputs: Inputs) -> Tensor:
        """Add the gradients to the totals, in the same way whether it is recorded or not."""
        for parameter in self._parameters:
            parameter.grad = None
        loss = self._compute(inputs)
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        if len(gradients) < len(self._totals):
            raise RuntimeError(f"{len(self._totals) - len(gradients)} trained tensors get no gradient")
        torch._foreach_add_(self._totals, gradients)
        for parameter in self._parameters:
            parameter.grad = None
        return loss


def obstacle(config: Config, device: torch.device, processes: int) -> str | None:
    """Why the passes of a run cannot be captured, as the end of a sentence; None if they can."""
    network, train = config.network, config.train
    if train.capture == "off":
        return 'train.capture is "off"'
    if device.type != "cuda":
        return "CUDA graphs need an NVIDIA GPU"
    if processes > 1:
        return "several processes share each step"
    if train.compile:
        return "train.compile queues kernels in its own way"
    if train.gradient_checkpointing:
        return "gradient checkpointing asks the random generator for its state, which a capture forbids"
    if train.attention == "xformers" and not train.deterministic:
        return "xformers' kernels were never captured; sdpa's are"
    if network.text_encoder:
        return "the text encoders are trained, whose inputs are made by Python in each step"
    if network.module_dropout:
        return "network.module_dropout decides in Python, in each step, which layers run"
    if network.rank_dropout and network.kind in ("loha", "lokr"):
        return f"network.rank_dropout of {network.kind} draws its numbers on the host"
    return None


def chosen(batches: Batches, count: int, *, every: bool) -> list[BatchShape]:
    """Which shapes to capture in a run of `count` passes; `every` one if the user insists.

    A matter of config and pictures alone, so that a run that was interrupted goes on with the same kernels.
    """
    shapes = batches.order.shapes()
    order = sorted(shapes, key=lambda shape: (-shapes[shape], shape))
    worth = [shape for shape in order if shapes[shape] * count / batches.per_epoch >= WORTH]
    return order if every else worth[:MOST]


def passes(
    config: Config, reason: str | None, eager: Eager, make: Callable[[], Captured], samples: Sequence[Inputs]
) -> Eager | Captured:
    """How a run makes its passes: by graphs of the shapes of `samples`, or eagerly for a `reason` or a failure.

    Raises InputError or TrainingError instead if train.capture is "on".
    """
    if reason is None and not samples:
        reason = f"no shape has {WORTH} passes in this run"
    if reason is not None:
        if config.train.capture == "on":
            raise InputError(f'train.capture = "on" is not possible here: {reason}; set it to "auto"')
        eager.sentence = f"not captured: {reason}"
        return eager
    captured = make()
    try:
        captured.prepare(samples)
    except RuntimeError as error:
        captured.rest()
        # What ends a broken capture raises too, and hides the error that broke it.
        eager.sentence = f"not captured: {_first_line(error.__context__ or error)}"
        if config.train.capture == "on":
            raise TrainingError(f'train.capture = "on" failed: {eager.sentence}; set it to "auto" or "off"') from error
        return eager
    return captured


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
