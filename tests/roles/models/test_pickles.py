"""Pickles: looked through before they get a name, and turned into safetensors without being trusted."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from roles.programs import receiver, sent
from tests.roles.models.conftest import Fetcher, wanted
from tests.roles.models.origin import Origin

HARMLESS = pickle.dumps({"state_dict": {"weight": [1.0, 2.0]}})


class Runs:
    """When unpickled, calls a function."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


BAD = {
    "a shell": (pickle.dumps(Runs(os.system, "true")), "posix.system"),
    "eval": (pickle.dumps(Runs(eval, "1")), "builtins.eval"),
    "a process": (pickle.dumps({"state_dict": Runs(subprocess.Popen, ["true"])}), "subprocess.Popen"),
    "cut short": (pickle.dumps(Runs(os.system, "true"))[:-3], "which can run any code"),
}


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
@pytest.mark.parametrize("name", BAD)
def test_a_pickle_that_runs_code_gets_no_name(name: str, suffix: str, fetcher: Fetcher, origin: Origin) -> None:
    data, reason = BAD[name]
    done = fetcher.run({**wanted(data, origin.serve("/model", data)), "suffix": suffix})
    assert done.status == 1
    [sentence] = done.errors
    assert sentence.startswith("sd15: is not a pickle to be trusted: ")
    assert reason in sentence
    assert fetcher.final_names() == []
    assert list((fetcher.store / "partial").iterdir()) == []


def test_a_harmless_pickle_is_taken(fetcher: Fetcher, origin: Origin) -> None:
    done = fetcher.run({**wanted(HARMLESS, origin.serve("/model", HARMLESS)), "suffix": ".ckpt"})
    assert (done.status, done.errors) == (0, [])


def test_what_the_scanner_does_not_know_is_told(fetcher: Fetcher, origin: Origin) -> None:
    data = pickle.dumps(Path)  # a class of a module that nobody lists
    done = fetcher.run({**wanted(data, origin.serve("/model", data)), "suffix": ".ckpt"})
    assert done.status == 0
    assert done.of("scanned")[0]["names"] == [f"{Path.__module__}.Path"]


def convert(file: Path) -> "subprocess.CompletedProcess[bytes]":
    """Run the converter on a file, as its unit does."""
    command = receiver(file, python=sys.executable)
    return subprocess.run(command, input=sent("convert_pickle").encode(), capture_output=True, check=False)


class Note:
    """An object such as training programs leave in their checkpoints."""

    text = "hello"


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_come_out_as_they_went_in(zipped: bool, tmp_path: Path) -> None:
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    tensors = {
        "b.half": torch.arange(6, dtype=torch.float16).reshape(2, 3),
        "a.brain": torch.ones(3, dtype=torch.bfloat16),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "single": torch.tensor(7),
        "part": torch.arange(100.0)[10:12],
    }
    file = tmp_path / "model.ckpt"
    whole = {"state_dict": tensors, "epoch": 3, "callbacks": {Note: Note()}}
    torch.save(whole, file, _use_new_zipfile_serialization=zipped)
    done = convert(file)
    assert (done.returncode, done.stderr) == (0, b"")
    found = safetensors.load(done.stdout)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {n: t.tolist() for n, t in tensors.items()}
    assert convert(file).stdout == done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "sentence"),
    [({"epoch": 1}, "holds no tensors by name"), (Runs(os.mkdir, "made-by-pickle"), "holds no tensors by name")],
)
def test_converting_runs_no_code(content: object, sentence: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(content, tmp_path / "bad.ckpt")
    done = subprocess.run(
        receiver(tmp_path / "bad.ckpt", python=sys.executable),
        input=sent("convert_pickle").encode(),
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert sentence in done.stderr.decode()
    assert not (tmp_path / "made-by-pickle").exists()


@pytest.mark.slow
def test_a_textual_inversion_becomes_an_embedding(tmp_path: Path) -> None:
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    torch.save({"string_to_param": {"*": torch.ones(2, 4)}, "name": "ink"}, tmp_path / "ink.pt")
    assert safetensors.load(convert(tmp_path / "ink.pt").stdout)["emb_params"].shape == (2, 4)


@pytest.mark.slow
def test_a_torchscript_archive_is_no_pickle_and_runs_nothing(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Loud(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))
            self.training = False

        @torch.jit.export
        def __getstate__(self):  # type: ignore[no-untyped-def]
            return (self.weight, self.training)

        @torch.jit.export  # type: ignore[untyped-decorator]
        def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:  # type: ignore[name-defined]
            print("the code of the archive ran")
            self.weight = state[0]
            self.training = state[1]

    file = tmp_path / "loud.pt"
    torch.jit.script(Loud()).save(str(file))
    done = convert(file)
    assert b"the code of the archive ran" not in done.stdout + done.stderr
    assert done.returncode == 1
    assert b"it is a TorchScript archive" in done.stderr
