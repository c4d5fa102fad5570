"""Forward and backward pass as CUDA graphs: captured once per shape, then replayed.

With a small batch a fast GPU waits while Python queues some five thousand kernels one by one; a graph queues them at
once. Gradient scaler, clipping and optimiser stay outside. A graph reads and writes fixed addresses: inputs are copied
into its own buffers, and gradients are summed into one buffer per tensor.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from training.data.dataset import Batches
from training.data.order import Shape as BatchShape
from training.errors import InputError, TrainingError
from training.loop.cuda_graphs import Backend, Run
from training.loop.inputs import Inputs, Shape
from training.sections.network import Network
from training.sections.optimisation import Train

Compute = Callable[[Inputs], Tensor]
"""Forward and backward pass of inputs on the device: adds to the gradients, returns the loss without a graph."""

MAX_SHAPES = 16
"""Most shapes to capture, those with most passes first: each graph takes time and memory."""
MIN_PASSES = 20
"""A shape with fewer passes is not captured: warming up and capturing take as long as several passes."""
GRAPH_BYTES = 64 << 20
"""Memory of a graph besides its tensors: a guess, not measured."""


class Eager:
    """Passes without CUDA graphs."""

    sentence = "not captured"

    def __init__(self, compute: Compute, device: torch.device) -> None:
        self._compute, self._device = compute, device

    def __call__(self, inputs: Inputs) -> Tensor:
        """The loss of a pass; its gradients are added to the parameters'."""
        return self._compute(inputs.to(self._device))

    def free_memory(self) -> None:
        """Free memory for something other than steps."""


class Captured:
    """Passes by CUDA graphs, where their shape was captured; other passes run without.

    `give_up` is called with a message if a capture after `free_memory` fails; it may raise to end the run.
    """

    def __init__(
        self,
        compute: Compute,
        parameters: Sequence[nn.Parameter],
        device: torch.device,
        backend: Backend,
        give_up: Callable[[str], None],
    ) -> None:
        self._compute, self._parameters = compute, list(parameters)
        self._device, self._backend, self._give_up = device, backend, give_up
        self.sentence = ""
        self._totals = [torch.zeros_like(parameter) for parameter in parameters]
        self._inputs: dict[Shape, Inputs] = {}
        self._graphs: dict[Shape, tuple[Run, list[Tensor]]] = {}

    def prepare(self, samples: Sequence[Inputs]) -> None:
        """Capture the shapes of `samples`; neither weights nor random states change.

        All are warmed up before the first is captured: a graph's memory cannot be used for anything else.
        Raises RuntimeError if the memory does not suffice or a pass cannot be captured.
        """
        self._inputs = {inputs.shape: inputs.clone_to(self._device) for inputs in samples}
        with self._rng_state_kept():
            taken = [self._warm_up(inputs) for inputs in self._inputs.values()]
        needed, room = max(taken) + GRAPH_BYTES * len(taken), self._backend.room()
        if needed > room:
            raise RuntimeError(f"it needs {needed >> 20} MB more, and {room >> 20} MB are free")
        self._capture()
        count = len(self._graphs)
        self.sentence = f"captured into {count} CUDA graph{'s' if count > 1 else ''}"

    def __call__(self, inputs: Inputs) -> Tensor:
        """The loss of a pass; its gradients are added to the parameters'."""
        if self._inputs and not self._graphs:
            self._capture_again()
        if self._parameters[0].grad is None:
            # Gradients were cleared after the last step: this is the first pass of a new one.
            torch._foreach_zero_(self._totals)
        captured = self._graphs.get(inputs.shape)
        if captured is None:
            loss = self._pass(inputs.to(self._device))
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

    def free_memory(self) -> None:
        """Free memory for something other than steps; the next pass captures again."""
        self._graphs.clear()
        self._backend.release()

    def _capture_again(self) -> None:
        """Capture after `free_memory`; if that fails, as memory is scarcer by now, run without graphs from here on."""
        try:
            self._capture()
            return
        except RuntimeError as error:
            reason = _cause(error)
        # Not in the except block: the exception keeps the failed pass's tensors alive.
        self._inputs.clear()
        self.free_memory()
        self.sentence = f"no longer captured: {reason}"
        self._give_up(self.sentence)

    def _capture(self) -> None:
        # The largest first: the others then fit into its memory.
        with self._rng_state_kept():
            for shape in sorted(self._inputs, key=lambda shape: -sum(math.prod(size) for _, size, _ in shape)):
                self._graphs[shape] = self._record(self._inputs[shape])

    @contextmanager
    def _rng_state_kept(self) -> Iterator[None]:
        """Restore torch's global generators afterwards."""
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if self._device.type == "cuda" else []):
            yield

    def _record(self, inputs: Inputs) -> tuple[Run, list[Tensor]]:
        kept: list[Tensor] = []

        def run() -> None:
            kept[:] = [self._pass(inputs)]

        return self._backend.capture(run), kept

    def _warm_up(self, inputs: Inputs) -> int:
        def run() -> None:
            self._pass(inputs)

        return self._backend.warm_up(run)

    def _pass(self, inputs: Inputs) -> Tensor:
        """Run a pass and add its gradients to the totals, captured or not."""
        self._clear_gradients()
        try:
            loss = self._compute(inputs)
            gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
            if len(gradients) < len(self._totals):
                raise RuntimeError(f"{len(self._totals) - len(gradients)} trained tensors get no gradient")
            torch._foreach_add_(self._totals, gradients)
        finally:
            # A pass that failed half-way (out of memory) leaves gradients, to which the next would add.
            self._clear_gradients()
        return loss

    def _clear_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def why_not_captured(network: Network, train: Train, device: torch.device, processes: int) -> str | None:
    """Why the passes of a run cannot be captured, as the end of a sentence; None if they can."""
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


def shapes_to_capture(batches: Batches, count: int, *, every: bool) -> list[BatchShape]:
    """The shapes to capture in a run of `count` passes; `every` one if train.capture is "on".

    They depend on config and pictures alone, so that a resumed run uses the same kernels.
    """
    shapes = batches.order.shapes()
    order = sorted(shapes, key=lambda shape: (-shapes[shape], shape))
    worth = [shape for shape in order if shapes[shape] * count / batches.per_epoch >= MIN_PASSES]
    return order if every else worth[:MAX_SHAPES]


def make_passes(
    setting: Literal["auto", "on", "off"],
    reason: str | None,
    eager: Eager,
    make: Callable[[], Captured],
    samples: Sequence[Inputs],
) -> Eager | Captured:
    """CUDA graphs of the shapes of `samples`, or `eager` because of a `reason` or a failure.

    `setting` is train.capture; if it is "on", raises InputError or TrainingError instead.
    """
    if reason is None and not samples:
        reason = f"no shape has {MIN_PASSES} passes in this run"
    if reason is not None:
        if setting == "on":
            raise InputError(f'train.capture = "on" is not possible here: {reason}; set it to "auto"')
        eager.sentence = f"not captured: {reason}"
        return eager
    captured = make()
    try:
        captured.prepare(samples)
        return captured
    except RuntimeError as error:
        reason = _cause(error)
    # Not in the except block: the exception keeps the failed pass's tensors alive.
    captured.free_memory()
    eager.sentence = f"not captured: {reason}"
    if setting == "on":
        raise TrainingError(f'train.capture = "on" failed: {eager.sentence}; set it to "auto" or "off"')
    return eager


def _cause(error: BaseException) -> str:
    """The first line of the original error: ending a broken capture raises too, and hides it."""
    cause = error.__context__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]
