"""Capture and replay with torch's CUDA graphs, and recovery from a failed capture."""

import contextlib
import gc
from collections.abc import Callable
from typing import Protocol

import torch

Run = Callable[[], None]

WARM_UP = 3
"""Passes before a capture (torch's notes on CUDA graphs): kernels and libraries are loaded by then."""


class Backend(Protocol):
    """CudaGraphs, or a stand-in in tests."""

    def warm_up(self, run: Run) -> int:
        """Run WARM_UP times without capturing; returns the peak of the additional memory in bytes."""

    def room(self) -> int:
        """Bytes that are free, or would be if the allocator released its cache."""

    def capture(self, run: Run) -> Run:
        """Capture the kernels that `run` queues, without running them; returns a function that runs them."""

    def release(self) -> None:
        """Free the memory of graphs that are no longer referenced."""


class CudaGraphs:
    """torch's CUDA graphs; all share one memory pool.

    That is safe: they never run at the same time, and what one returns (its loss) is kept referenced.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        # One for all: graphs that share a pool must be captured on one stream, and cuBLAS has its workspace by then.
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def warm_up(self, run: Run) -> int:
        """See Backend. The last pass must not synchronise: that would break a capture, which is harder to clean up."""
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP - 1):
                run()
            mode = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode("error")
            try:
                run()
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        torch.cuda.current_stream().wait_stream(self._stream)
        return torch.cuda.max_memory_allocated() - before

    def room(self) -> int:
        """See Backend."""
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]

    def capture(self, run: Run) -> Run:
        """See Backend."""
        graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        draws = generator.clone_state()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        # Not torch.cuda.graph: it stays on its stream if a capture breaks.
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool)
            try:
                run()
            finally:
                try:
                    graph.capture_end()
                except RuntimeError:
                    self._abandon()
                    generator.graphsafe_set_state(draws)
                    raise
        return graph.replay

    def _abandon(self) -> None:
        """Tell the allocator that a broken capture has ended; otherwise it frees nothing (empty_cache fails).

        torch's own capture_end raises before that (torch 2.11 to 2.13), and leaves its generator capturing too.
        """
        device = torch.cuda.current_device()
        # Raises if that was done already; then the graph releases the pool.
        with contextlib.suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(device, self._pool)
            torch._C._cuda_releasePool(device, self._pool)

    def release(self) -> None:
        """See Backend."""
        gc.collect()
        torch.cuda.empty_cache()
        self._pool = torch.cuda.graph_pool_handle()
