"""Loads the parts of a base model: UNet, VAE, text encoders, tokenizer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.base import folders, parts, prediction, tensors
from training.base.files import DiffusersFolder, TensorFile, family_as_configured, open_base, tokenizer_folder
from training.base.parts import TextEncoder
from training.base.remarks import base_remarks
from training.base.tensors import State
from training.errors import InputError
from training.sections.model import Family, Model


class BaseModel:
    """A base model whose parts are loaded on demand.

    Raises InputError if the checkpoint is missing, unreadable, or of another family than configured.
    """

    def __init__(self, config: Model) -> None:
        self.config = config
        self.source = open_base(config.checkpoint)
        self.family = family_as_configured(config, self.source)
        self.v_prediction = self._v_prediction()

    def _v_prediction(self) -> bool:
        says = prediction.detect_prediction(self.source)
        if self.config.prediction == "auto":
            return says.v_prediction is True
        return self.config.prediction == "v_prediction"

    def remarks(self, zero_terminal_snr: bool) -> list[str]:
        """Messages on what the checkpoint states, and on what it makes of the settings."""
        return base_remarks(self.source, self.family, self.config, zero_terminal_snr)

    def unet(self, dtype: torch.dtype) -> nn.Module:
        """The UNet, frozen."""
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        if isinstance(self.source, DiffusersFolder):
            folder = self.source.path / "unet"
            return _frozen(folders.load_part(UNet2DConditionModel, folder, "UNet", torch_dtype=dtype))
        from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

        part = parts.unet(self.source, self.family)
        found = tensors.read_tensors(self.source, part.prefix, dtype)
        with parts.fitting(self.source.path, "UNet"):
            with torch.device("meta"):
                model = UNet2DConditionModel.from_config(part.config)
            state = convert_ldm_unet_checkpoint(found, part.config)
        return _frozen(_fill(model, state, self.source.path, "UNet"))

    @property
    def vae_file(self) -> Path:
        """The file or folder of the VAE."""
        return self.config.vae or self.config.checkpoint

    def vae(self, dtype: torch.dtype) -> nn.Module:
        """The VAE, frozen."""
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        path = self.vae_file
        if path.is_dir():
            folder = path / "vae" if (path / "vae").is_dir() else path
            return _frozen(folders.load_part(AutoencoderKL, folder, "VAE", torch_dtype=dtype))
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        source = TensorFile(path)
        part = parts.vae(source, self.family)
        found = tensors.read_tensors(source, part.prefix, dtype)
        with parts.fitting(path, "VAE"):
            with torch.device("meta"):
                model = AutoencoderKL.from_config(part.config)
            state = convert_ldm_vae_checkpoint(found, part.config)
        return _frozen(_fill(model, state, path, "VAE"))

    def text_encoders(self, dtype: torch.dtype) -> list[nn.Module]:
        """The text encoders, frozen, in the order in which their outputs are concatenated."""
        if isinstance(self.source, DiffusersFolder):
            return [_frozen(model) for model in _text_from_folder(self.source, self.family, dtype)]
        return [_frozen(model) for model in _text_from_file(self.source, self.family, dtype)]

    def tokenizer(self) -> Any:
        """CLIP's tokenizer; one vocabulary serves all text encoders."""
        return folders.load_tokenizer(tokenizer_folder(self.config.tokenizer, self.source, "tokenizer"))


def _text_from_folder(source: DiffusersFolder, kind: Family, dtype: torch.dtype) -> list[nn.Module]:
    import transformers
    from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    # Its progress bar would break up the run's output.
    transformers.utils.logging.disable_progress_bar()
    classes: dict[str, Any] = {"text_encoder": CLIPTextModel}
    if kind == "sdxl":
        classes["text_encoder_2"] = CLIPTextModelWithProjection
    return [folders.load_part(cls, source.path / name, "text encoder", dtype=dtype) for name, cls in classes.items()]


def _text_from_file(source: TensorFile, kind: Family, dtype: torch.dtype) -> Iterator[nn.Module]:
    from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    for number, part in enumerate(parts.text_encoders(source, kind)):
        found = tensors.read_tensors(source, part.prefix, dtype)
        with parts.fitting(source.path, "text encoder"):
            model = _text_model(CLIPTextModelWithProjection if number else CLIPTextModel, part.config)
            if part.open_clip:
                state = _from_open_clip(model, found, part, drop_last=kind == "sd2")
            else:
                state = {name.removeprefix(part.prefix): value for name, value in found.items()}
                state.pop("embeddings.position_ids", None)
        yield _fill(model, state, source.path, "text encoder")


def _from_open_clip(model: nn.Module, found: State, part: TextEncoder, *, drop_last: bool) -> State:
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    if drop_last:
        last = f"{part.prefix}transformer.resblocks.{part.config['num_hidden_layers']}."
        found = {name: value for name, value in found.items() if not name.startswith(last)}
    # The converter splits q, k and v by the projection's size; without one by the model's hidden size.
    projection = found.pop(f"{part.prefix}text_projection", None)
    state: State = convert_open_clip_checkpoint(model, found, part.prefix)
    if projection is not None and not drop_last:
        state["text_projection.weight"] = projection.T.contiguous()
    state.pop("text_model.embeddings.position_ids", None)
    return state


def _text_model(cls: Any, config: dict[str, Any]) -> nn.Module:
    """An empty CLIP text model on the meta device, with real position ids."""
    from transformers.models.clip.configuration_clip import CLIPTextConfig

    with torch.device("meta"):
        model: nn.Module = cls(CLIPTextConfig(**config))
    embeddings: nn.Module = getattr(model, "text_model", model).embeddings  # type: ignore[assignment]
    embeddings.register_buffer(
        "position_ids", torch.arange(config["max_position_embeddings"]).expand((1, -1)), persistent=False
    )
    return model


def _fill(model: nn.Module, state: dict[str, Tensor], path: Path, what: str) -> nn.Module:
    """Load `state` into `model` without a copy, with or without CLIP's prefix text_model.

    Raises InputError if a tensor is missing or has another shape.
    """
    wanted = model.state_dict()
    # diffusers' converters put None where the file lacks a convolution's bias.
    state = {name: value for name, value in state.items() if value is not None}
    if not any(name.startswith("text_model.") for name in wanted):
        state = {name.removeprefix("text_model."): value for name, value in state.items()}
    elif not any(name.startswith("text_model.") for name in state):
        state = {f"text_model.{name}": value for name, value in state.items()}
        if "text_model.text_projection.weight" in state:
            state["text_projection.weight"] = state.pop("text_model.text_projection.weight")
    missing = sorted(wanted.keys() - state.keys())
    odd = sorted(name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape)
    if missing or odd:
        raise InputError(
            f"{path}: its {what} does not fit: {len(missing)} tensors are missing, {len(odd)} have another shape "
            f"(first: {(missing or odd)[0]}); the file is incomplete or not of a family that can be trained"
        )
    model.load_state_dict({name: state[name] for name in wanted}, assign=True)
    return model


def _frozen(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False).eval()
