"""The same bits again on CUDA: which kernels torch, cuBLAS and cuDNN may take. Imports without torch.

On CPUs the same file comes out without any of this.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from training.errors import InputError
from training.sections.optimisation import Train

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")
"""The sizes with which cuBLAS always takes the same kernels (CUDA's documentation, "Results reproducibility")."""
NO_KERNEL = "does not have a deterministic implementation"
"""What torch says of an operation; it has no exception class of its own for that."""

CUBLAS = "not deterministic because it uses CuBLAS"
"""What torch says of a matrix product if the workspace is another one, or came too late: it looks once, at the first
product. Newer versions (2.13) do without."""


def prepare(train: Train) -> None:
    """Set what must stand in the environment before CUDA starts.

    Raises InputError if the environment asks cuBLAS for a workspace with which its results vary.
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
def kernels(train: Train, device: str) -> Iterator[None]:
    """Within, torch takes deterministic kernels (if so configured) and TF32 as configured; afterwards as before.

    Strict, not with warn_only: that lets the backward pass of fused attention add in any order.
    """
    import torch

    if device != "cuda":
        yield
        return
    before = flags()
    strict, fills = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(train.deterministic)
    # Filling new memory finds reads of what was never written; it is another kernel for each tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _set(
        {
            "cudnn_deterministic": train.deterministic,
            # Its trials take whatever is quickest at the moment.
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


def flags() -> dict[str, bool]:
    """What torch is set to, for the record."""
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


def explanation(error: RuntimeError) -> str | None:
    """A sentence for an operation that has no deterministic kernel; None if that is not the error."""
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
