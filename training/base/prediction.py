"""The prediction type that a checkpoint states: marker tensors, metadata, or a diffusers folder's scheduler."""

from dataclasses import dataclass
from typing import Literal

from training.base.files import DiffusersFolder, TensorFile
from training.sections.model import Prediction


@dataclass(frozen=True)
class DetectedPrediction:
    """What the UNet predicts, and what states it; None and "" if nothing does."""

    v_prediction: bool | None = None
    where: str = ""
    zero_terminal_snr: bool = False


def detect_prediction(source: TensorFile | DiffusersFolder) -> DetectedPrediction:
    """The stated prediction type; marker tensors (`v_pred`, `ztsnr`, as in NoobAI's and ComfyUI's files) come first."""
    if isinstance(source, DiffusersFolder):
        settings = source.config("scheduler", "scheduler_config.json")
        said, snr = settings.get("prediction_type"), bool(settings.get("rescale_betas_zero_snr"))
        if said is None:
            return DetectedPrediction(zero_terminal_snr=snr)
        return DetectedPrediction(said == "v_prediction", "scheduler_config.json", snr)
    snr = "ztsnr" in source.shapes
    if "v_pred" in source.shapes:
        return DetectedPrediction(True, "the tensor v_pred", snr)
    noted = source.header.metadata.get("modelspec.prediction_type", "").lower()
    if noted in ("v", "v_prediction", "v-prediction"):
        return DetectedPrediction(True, f"modelspec.prediction_type = {noted}", snr)
    if noted in ("epsilon", "eps"):
        return DetectedPrediction(False, f"modelspec.prediction_type = {noted}", snr)
    return DetectedPrediction(zero_terminal_snr=snr)


def prediction_notes(
    found: DetectedPrediction, setting: Literal["auto"] | Prediction, zero_terminal_snr: bool
) -> list[str]:
    """Messages on a detected prediction type that is used, or that the settings contradict."""
    name = {True: "v-prediction", False: "epsilon"}
    said = []
    if setting == "auto":
        if found.v_prediction:
            said.append(f"the checkpoint was trained with v-prediction ({found.where})")
    elif found.v_prediction is not None and found.v_prediction != (setting == "v_prediction"):
        said.append(
            f"warning: model.prediction = {setting!r}, but the checkpoint says {name[found.v_prediction]} "
            f"({found.where}); the LoRA will not work with it. Set it to auto"
        )
    if found.zero_terminal_snr and not zero_terminal_snr:
        said.append("warning: the checkpoint was made with zero terminal SNR; set objective.zero_terminal_snr = true")
    return said
