"""Loads the parts of a base model: UNet, VAE, text encoders, tokenizer."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.base import keys, prediction, shapes, tensors
from training.base.files import DiffusersFolder, TensorFile, family_of, open_base, tokenizer_folder
from training.errors import InputError
from training.sections.model import Family, Model

SCALING: dict[Family, float] = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}
"""Scaling factor of latents, unless the VAE's own settings have one."""


class BaseModel:
    """A base model whose parts are loaded on demand.

    Raises InputError if the checkpoint is missing, unreadable, or of another family than configured.
    """

    def __init__(self, config: Model) -> None:
        self.config = config
        self.source = open_base(config.checkpoint)
        self.family = family_of(self.source)
        if config.family not in ("auto", self.family):
            raise InputError(
                f"{config.checkpoint}: is of the family {self.family}, but model.family says {config.family}"
            )
        self.v_prediction = self._v_prediction()

    def _v_prediction(self) -> bool:
        says = prediction.detect_prediction(self.source)
        if self.config.prediction == "auto":
            return says.v_prediction is True
        return self.config.prediction == "v_prediction"

    def remarks(self, zero_terminal_snr: bool) -> list[str]:
        """Messages on what the checkpoint states that is used, or that the settings contradict."""
        return prediction.prediction_notes(
            prediction.detect_prediction(self.source), self.config.prediction, zero_terminal_snr
        )

    def unet(self, dtype: torch.dtype) -> nn.Module:
        """The UNet, frozen."""
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        if isinstance(self.source, DiffusersFolder):
            model = UNet2DConditionModel.from_pretrained(self.source.path, subfolder="unet", torch_dtype=dtype)
            return _frozen(model)
        from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

        config = shapes.unet_config(self.source.shapes, self.family)
        with torch.device("meta"):
            model = UNet2DConditionModel.from_config(config)
        state = convert_ldm_unet_checkpoint(tensors.read_tensors(self.source, keys.UNET, dtype), config)
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
            return _frozen(AutoencoderKL.from_pretrained(folder, torch_dtype=dtype))
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        source = TensorFile(path)
        prefix = keys.VAE if any(name.startswith(keys.VAE) for name in source.shapes) else ""
        try:
            config = shapes.vae_config(source.shapes, prefix, SCALING[self.family])
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        with torch.device("meta"):
            model = AutoencoderKL.from_config(config)
        state = convert_ldm_vae_checkpoint(tensors.read_tensors(source, prefix, dtype), config)
        return _frozen(_fill(model, state, path, "VAE"))

    def text_encoders(self, dtype: torch.dtype) -> list[nn.Module]:
        """The text encoders, frozen, in the order in which their outputs are concatenated."""
        if isinstance(self.source, DiffusersFolder):
            return [_frozen(model) for model in _text_from_folder(self.source, self.family, dtype)]
        return [_frozen(model) for model in _text_from_file(self.source, self.family, dtype)]

    def tokenizer(self) -> Any:
        """CLIP's tokenizer; one vocabulary serves all text encoders."""
        from transformers.models.clip.tokenization_clip import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(str(tokenizer_folder(self.config.tokenizer, self.source, "tokenizer")))


def _text_from_folder(source: DiffusersFolder, kind: Family, dtype: torch.dtype) -> list[nn.Module]:
    import transformers
    from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    # Its progress bar would break up the run's output.
    transformers.utils.logging.disable_progress_bar()
    parts: list[nn.Module] = [CLIPTextModel.from_pretrained(source.path / "text_encoder", dtype=dtype)]
    if kind == "sdxl":
        parts.append(CLIPTextModelWithProjection.from_pretrained(source.path / "text_encoder_2", dtype=dtype))
    return parts


def _text_from_file(source: TensorFile, kind: Family, dtype: torch.dtype) -> list[nn.Module]:
    from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    if kind == "sd2":
        return [_open_clip(CLIPTextModel, source, keys.OPEN_CLIP, dtype, drop_last=True)]
    prefix = keys.CLIP if kind == "sd1" else keys.XL_CLIP
    if kind == "sd1" and not any(name.startswith(prefix) for name in source.shapes):
        prefix = keys.OLD_CLIP
    state = {name.removeprefix(prefix): value for name, value in tensors.read_tensors(source, prefix, dtype).items()}
    state.pop("embeddings.position_ids", None)
    first = _fill(
        _text_model(CLIPTextModel, shapes.clip_config(source.shapes, prefix)), state, source.path, "text encoder"
    )
    if kind == "sd1":
        return [first]
    return [first, _open_clip(CLIPTextModelWithProjection, source, keys.XL_OPEN_CLIP, dtype, drop_last=False)]


def _open_clip(cls: Any, source: TensorFile, prefix: str, dtype: torch.dtype, *, drop_last: bool) -> nn.Module:
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    config = shapes.open_clip_config(source.shapes, prefix, drop_last)
    model = _text_model(cls, config)
    found = tensors.read_tensors(source, prefix, dtype)
    if drop_last:
        last = f"{prefix}transformer.resblocks.{config['num_hidden_layers']}."
        found = {name: value for name, value in found.items() if not name.startswith(last)}
    # The converter splits q, k and v by the projection's size; without one by the model's hidden size.
    projection = found.pop(f"{prefix}text_projection", None)
    state = convert_open_clip_checkpoint(model, found, prefix)
    if projection is not None and not drop_last:
        state["text_projection.weight"] = projection.T.contiguous()
    state.pop("text_model.embeddings.position_ids", None)
    return _fill(model, state, source.path, "text encoder")


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
