"""Kernels that give the same bits again: what is set, what is put back, what is said where there is none."""

import json
import os
from typing import Any

import pytest
import torch

from tests.training.workbench import Workbench
from training.config import Train
from training.errors import InputError, TrainingError
from training.loop import determinism
from training.loop.fingerprint import fingerprint
from training.loop.objective import Objective
from training.run.reproduce import same_arithmetic

pytestmark = pytest.mark.slow


def test_cublas_gets_its_workspace_before_cuda_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    determinism.prepare_environment(Train(deterministic=False))
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    determinism.prepare_environment(Train())
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    determinism.prepare_environment(Train())
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    with pytest.raises(InputError, match=r"CUBLAS_WORKSPACE_CONFIG=:0:0 in the environment lets cuBLAS vary"):
        determinism.prepare_environment(Train())


def test_strict_kernels_within_and_all_as_before_afterwards() -> None:
    before = determinism.torch_flags()
    with determinism.deterministic_kernels(Train(), "cuda"):
        assert determinism.torch_flags() == {
            "deterministic": True,
            "cudnn_deterministic": True,
            "cudnn_benchmark": False,
            "cudnn_attention": False,
            "tf32_matmul": False,
            "tf32_cudnn": False,
        }
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert determinism.torch_flags() == before
    with determinism.deterministic_kernels(Train(deterministic=False, tf32=True), "cuda"):
        flags = determinism.torch_flags()
        assert flags["tf32_matmul"] and flags["tf32_cudnn"] and not flags["deterministic"]
        assert flags["cudnn_attention"] == before["cudnn_attention"]
    assert determinism.torch_flags() == before
    with determinism.deterministic_kernels(Train(), "cpu"):
        assert determinism.torch_flags() == before


def test_an_operation_without_a_deterministic_kernel_is_named(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """put_ has none on any device."""
    kernels, loss = determinism.deterministic_kernels, Objective.loss

    def with_put(self: Objective, *given: Any) -> torch.Tensor:
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
        return loss(self, *given)

    monkeypatch.setattr(determinism, "deterministic_kernels", lambda train, _: kernels(train, "cuda"))
    monkeypatch.setattr(Objective, "loss", with_put)
    with pytest.raises(TrainingError, match=r"^put_ has no deterministic kernel .* Set train\.deterministic = false"):
        bench.train("run")
    record = json.loads((bench.folder / "run" / "run.json").read_text())
    assert record["ended"]["reason"].startswith("put_ has no deterministic kernel")


def test_cublas_own_message_is_told_by_what_to_set(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that embeds the trainer used cuBLAS before; the words are those of torch's Context.cpp."""
    message = (
        "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or "
        "`at::Context::setDeterministicAlgorithms(true)`, but this operation is not deterministic because it uses "
        "CuBLAS and you have CUDA >= 10.2. To enable deterministic behavior in this case, you must set an environment "
        "variable before running your PyTorch application: CUBLAS_WORKSPACE_CONFIG=:4096:8 or "
        "CUBLAS_WORKSPACE_CONFIG=:16:8. For more information, go to "
        "https://docs.nvidia.com/cuda/cublas/index.html#results-reproducibility"
    )

    def fails(*_: Any) -> torch.Tensor:
        raise RuntimeError(message)

    monkeypatch.setattr(Objective, "loss", fails)
    with pytest.raises(TrainingError, match=r"Set CUBLAS_WORKSPACE_CONFIG=:4096:8 .* or train\.deterministic = false"):
        bench.train("run")


def test_other_errors_are_not_taken_for_it() -> None:
    assert (
        determinism.explain_nondeterminism(RuntimeError("CUDA error: an illegal memory access was encountered")) is None
    )


def test_record_and_fingerprint_hold_the_settings(bench: Workbench) -> None:
    bench.train("run")
    record = json.loads((bench.folder / "run" / "run.json").read_text())
    assert record["config"]["train"]["deterministic"] is True and record["config"]["train"]["tf32"] is False
    assert record["kernels"].keys() == determinism.torch_flags().keys()
    assert record["passes"] == "not captured: CUDA graphs need an NVIDIA GPU"
    prints = {
        fingerprint(bench.config(tables={"train": train}), "data", "sd1")
        for train in ({}, {"deterministic": False}, {"tf32": True}, {"capture": "off"})
    }
    assert len(prints) == 4


def test_bits_are_promised_on_a_card_only_with_deterministic_kernels() -> None:
    def record(gpus: list[str], **train: Any) -> dict[str, Any]:
        config = {"train": {"device": "auto", **train}}
        return {"machine": {"gpus": gpus}, "lives": [{"processes": 1}], "config": config}

    same, free = record(["H100"], deterministic=True), record(["H100"], deterministic=False)
    assert same_arithmetic(same, same)
    assert not same_arithmetic(free, free)
    assert same_arithmetic(record([], deterministic=False), record([], deterministic=False))
