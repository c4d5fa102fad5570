"""A run loads less of torch, diffusers and PEFT than they would load by themselves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.workbench import Workbench

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
START = "import sys, torch; from training import imports\n"
COMPILER_LOADED = "'torch._dynamo.eval_frame' in sys.modules"


def answer(program: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", START + program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_neither_the_compiler_nor_scipy_is_loaded() -> None:
    program = f"""
with imports.without_compiler():
    imports.import_libraries(text_encoder=False)
    import training.recipe
    weight = torch.nn.Parameter(torch.zeros(2))
    torch.optim.AdamW([weight], fused=True).step()
    print({COMPILER_LOADED}, 'scipy' in sys.modules)
print({COMPILER_LOADED})
"""
    assert answer(program).split() == ["False", "False", "False"]


@pytest.mark.parametrize(
    "use",
    [
        "assert torch._dynamo.is_compiling() is False",
        "import torch._dynamo.eval_frame as part; assert part.OptimizedModule",
        "assert torch.compile(lambda x: x + 1, backend='eager')(torch.zeros(1)).item() == 1.0",
    ],
)
def test_the_compiler_is_there_when_it_is_asked_for(use: str) -> None:
    program = f"""
with imports.without_compiler():
    imports.import_libraries(text_encoder=False)
    {use}
    print({COMPILER_LOADED})
"""
    assert answer(program) == "True"


def test_scipy_is_there_afterwards() -> None:
    assert answer("imports.import_libraries(text_encoder=False); import scipy; print(scipy.__name__)") == "scipy"


def test_transformers_is_loaded_only_to_encode_captions(bench: Workbench) -> None:
    loaded = {}
    for run in ("first", "second"):
        tables = {"data": {"cache_folder": str(bench.folder / "cache")}}
        program = f"""
import json
from pathlib import Path
from training.config import parse
from training.runner import train_in
from training.stopping import Stop
torch.set_num_threads(1)
config = parse(json.loads({json.dumps(bench.raw(tables=tables))!r}), Path("c.toml"))
train_in(config, Path({str(bench.folder / run)!r}), Stop())
print("transformers" in sys.modules, torch.distributed.is_available())
from transformers import CLIPTextModel
print(CLIPTextModel.__module__)
"""
        loaded[run] = answer(program).splitlines()[-2:]
    real = "transformers.models.clip.modeling_clip"
    assert loaded == {"first": ["True True", real], "second": ["False True", real]}
    assert bench.digest("first") == bench.digest("second")


def test_transformers_is_loaded_where_the_stand_in_is_not_enough() -> None:
    program = """
from training import standin
asked = standin._Names.__getattr__
def refuse(self, name):
    if name == "AutoTokenizer":
        raise RuntimeError(name)
    return asked(self, name)
standin._Names.__getattr__ = refuse
imports.import_libraries(text_encoder=False)
import peft.tuners.tuners_utils as part
import transformers
print(part.PreTrainedModel is transformers.PreTrainedModel)
"""
    assert answer(program) == "True"
