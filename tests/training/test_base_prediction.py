"""Checkpoints that are not what they seem: what they say is read, and what cannot be trained is called by its name."""

from collections.abc import Callable

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.training.workbench import Workbench
from training.base.loading import BaseModel
from training.errors import InputError
from training.sections.model import Model

pytestmark = pytest.mark.slow
State = dict[str, Tensor]
FIRST = "model.diffusion_model.input_blocks.0.0.weight"


def wider(state: State, more: int) -> State:
    first = state[FIRST]
    return {**state, FIRST: torch.cat([first, torch.zeros(first.shape[0], more, 3, 3)], 1)}


def broken(state: State) -> State:
    name = "first_stage_model.encoder.conv_in.weight"
    return {**state, name: torch.full_like(state[name], float("nan"))}


def two(name: str) -> Callable[[State], State]:
    return lambda _: {name: torch.zeros(2, 2)}


REFUSED: dict[str, tuple[Callable[[State], State], str]] = {
    "inpainting": (lambda state: wider(state, 5), "is an inpainting model, whose UNet takes 9 channels instead of 4"),
    "pix2pix": (lambda state: wider(state, 4), "is an instruct-pix2pix model"),
    "sd3": (two("model.diffusion_model.joint_blocks.0.x"), "is a Stable Diffusion 3 model"),
    "flux": (two("model.diffusion_model.double_blocks.0.x"), "is a Flux model"),
    "anima": (two("net.llm_adapter.x"), "is an Anima model"),
    "lora": (two("lora_unet_mid_block.lora_up.weight"), "is a LoRA"),
    "embedding": (two("emb_params"), "is an embedding"),
    "vae": (
        lambda s: {k.removeprefix("first_stage_model."): v for k, v in s.items() if k.startswith("first_stage")},
        "is a VAE alone",
    ),
    "refiner": (
        lambda s: {
            k.replace("cond_stage_model.transformer.", "conditioner.embedders.0.model."): v for k, v in s.items()
        },
        "is an SDXL refiner",
    ),
    "nan": (broken, "hold NaN or infinity (first: first_stage_model.encoder.conv_in.weight); the file is damaged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_called_by_its_name(bench: Workbench, name: str) -> None:
    change, sentence = REFUSED[name]
    file = bench.folder / "odd.safetensors"
    save_file({k: v.contiguous() for k, v in change(load_file(bench.materials / "sd1.safetensors")).items()}, file)
    with pytest.raises(InputError) as caught:
        bench.train(
            "run", tables={"model": {"checkpoint": str(file)}, "data": {"cache_folder": str(bench.folder / "c")}}
        )
    assert sentence in str(caught.value) and str(file) in str(caught.value)


def test_old_names_of_the_text_encoder_are_read(bench: Workbench) -> None:
    old = "cond_stage_model.transformer."
    state = load_file(bench.materials / "sd1.safetensors")
    file = bench.folder / "old.safetensors"
    save_file({name.replace(f"{old}text_model.", old): value for name, value in state.items()}, file)
    one, two = (BaseModel(Model(checkpoint=path)) for path in (bench.materials / "sd1.safetensors", file))
    [first], [second] = one.text_encoders(torch.float32), two.text_encoders(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_marks_of_v_prediction_are_believed_and_contradictions_named(bench: Workbench) -> None:
    state = load_file(bench.materials / "sdxl.safetensors")
    marked, noted = bench.folder / "marked.safetensors", bench.folder / "noted.safetensors"
    save_file({**state, "v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}, marked)
    save_file(state, noted, {"modelspec.prediction_type": "v"})
    for file, where in ((marked, "the tensor v_pred"), (noted, "modelspec.prediction_type = v")):
        base = BaseModel(Model(checkpoint=file))
        assert base.v_prediction
        assert base.remarks(True) == [f"the checkpoint was trained with v-prediction ({where})"]
        other = BaseModel(Model(checkpoint=file, prediction="epsilon"))
        assert not other.v_prediction
        assert "but the checkpoint says v-prediction" in other.remarks(True)[0]
    assert "set objective.zero_terminal_snr = true" in BaseModel(Model(checkpoint=marked)).remarks(False)[1]
    plain = BaseModel(Model(checkpoint=bench.materials / "sdxl.safetensors"))
    assert not plain.v_prediction and plain.remarks(False) == []


def test_a_picture_of_400_megapixels_and_a_missing_gpu_are_sentences(bench: Workbench) -> None:
    folder = bench.folder / "big" / "1_poster"
    folder.mkdir(parents=True)
    Image.new("1", (20000, 20000)).save(folder / "poster.png")
    with pytest.raises(InputError, match=r"poster.png: is no readable picture"):
        bench.train("run", tables={"data": {"folder": str(folder.parent)}})
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=r'train.device = "cuda", but torch .* finds no such GPU here'):
            bench.train("run", tables={"train": {"device": "cuda"}})
