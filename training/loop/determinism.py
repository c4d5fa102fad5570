"""Deterministic kernels of torch, cuBLAS and cuDNN on CUDA. Imports without torch.

On CPUs results are reproducible without it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from training.errors import InputError
from training.sections.optimisation import Train

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")
"""Sizes with which cuBLAS is deterministic (CUDA's documentation, "Results reproducibility")."""
NO_KERNEL = "does not have a deterministic implementation"
"""Part of torch's message on an operation; there is no exception class for it."""

CUBLAS = "not deterministic because it uses CuBLAS"
"""Part of torch's message on a matrix product if the workspace is another one, or was set too late: it is read once, at
the first product. Newer versions (2.13) do not need it."""


def prepare_environment(train: Train) -> None:
    """Set the environment variables that must be set before CUDA starts.

    Raises InputError if cuBLAS is configured with a workspace that makes results vary.
    """
    if not train.deterministic:
        return
    found = os.environ.setdefault(WORKSPACE, WORKSPACES[0])
    if found not in WORKSPACES:
        raise InputError(
            f"{WORKSPACE}={found} in the environment lets cuBLAS vary its results; unset it, set it to "
            f"{' or '.join(WORKSPACES)}, or set train.deterministic = false"
        )


@contextmanager
def deterministic_kernels(train: Train, device: str) -> Iterator[None]:
    """Use deterministic kernels and TF32 as configured; restore torch's settings afterwards.

    Strict, not warn_only: that lets the backward pass of fused attention add in any order.
    """
    import torch

    if device != "cuda":
        yield
        return
    before = torch_flags()
    strict, fills = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(train.deterministic)
    # Filling new memory finds reads of uninitialised values, at the cost of a kernel per tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _set(
        {
            "cudnn_deterministic": train.deterministic,
            # Benchmarking picks whichever kernel is fastest at the moment.
            "cudnn_benchmark": False,
            # Its backward pass has no deterministic form.
            "cudnn_attention": not train.deterministic and before["cudnn_attention"],
            "tf32_matmul": train.tf32,
            "tf32_cudnn": train.tf32,
        }
    )
    try:
        yield
    finally:
        _set(before)
        torch.use_deterministic_algorithms(strict)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]


def torch_flags() -> dict[str, bool]:
    """torch's settings, for the record."""
    import torch

    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_attention": torch.backends.cuda.cudnn_sdp_enabled(),  # type: ignore[no-untyped-call]
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
    }


def _set(wanted: dict[str, Any]) -> None:
    import torch

    torch.backends.cudnn.deterministic = wanted["cudnn_deterministic"]
    torch.backends.cudnn.benchmark = wanted["cudnn_benchmark"]
    torch.backends.cuda.enable_cudnn_sdp(wanted["cudnn_attention"])
    torch.backends.cuda.matmul.allow_tf32 = wanted["tf32_matmul"]
    torch.backends.cudnn.allow_tf32 = wanted["tf32_cudnn"]


def explain_nondeterminism(error: RuntimeError) -> str | None:
    """The message for an operation without a deterministic kernel; None for other errors."""
    text = str(error)
    if CUBLAS in text:
        return (
            f"cuBLAS was used in this process before {WORKSPACE} was set, so its products could not be repeated to "
            f"the bit. Set {WORKSPACE}={WORKSPACES[0]} in the environment that starts the run, "
            "or train.deterministic = false"
        )
    if NO_KERNEL not in text:
        return None
    operation = text.partition(NO_KERNEL)[0].split()[-1].strip("`'\"")
    return (
        f"{operation} has no deterministic kernel on this device, so the run could not be repeated to the bit. "
        "Set train.deterministic = false to train all the same, or leave out the setting that needs it"
    )
