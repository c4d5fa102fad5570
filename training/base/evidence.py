"""What a checkpoint says of its own prediction: tensors that mark it, metadata, a diffusers folder's scheduler."""

from dataclasses import dataclass
from typing import Literal

from training.base.files import DiffusersFolder, TensorFile
from training.sections.model import Prediction


@dataclass(frozen=True)
class Evidence:
    """What the UNet predicts, and where that is said; None and "" if nothing says it."""

    v_prediction: bool | None = None
    where: str = ""
    zero_terminal_snr: bool = False


def prediction(source: TensorFile | DiffusersFolder) -> Evidence:
    """All evidence of a checkpoint: marks (`v_pred`, `ztsnr`, as NoobAI's and ComfyUI's files have) come first."""
    if isinstance(source, DiffusersFolder):
        settings = source.config("scheduler", "scheduler_config.json")
        said, snr = settings.get("prediction_type"), bool(settings.get("rescale_betas_zero_snr"))
        if said is None:
            return Evidence(zero_terminal_snr=snr)
        return Evidence(said == "v_prediction", "scheduler_config.json", snr)
    snr = "ztsnr" in source.shapes
    if "v_pred" in source.shapes:
        return Evidence(True, "the tensor v_pred", snr)
    noted = source.header.metadata.get("modelspec.prediction_type", "").lower()
    if noted in ("v", "v_prediction", "v-prediction"):
        return Evidence(True, f"modelspec.prediction_type = {noted}", snr)
    if noted in ("epsilon", "eps"):
        return Evidence(False, f"modelspec.prediction_type = {noted}", snr)
    return Evidence(zero_terminal_snr=snr)


def remarks(found: Evidence, setting: Literal["auto"] | Prediction, zero_terminal_snr: bool) -> list[str]:
    """Sentences on what is used because of the evidence, or in spite of it."""
    name = {True: "v-prediction", False: "epsilon"}
    said = []
    if setting == "auto":
        if found.v_prediction:
            said.append(f"the checkpoint is trained on v-prediction, as it says ({found.where})")
    elif found.v_prediction is not None and found.v_prediction != (setting == "v_prediction"):
        said.append(
            f"warning: model.prediction = {setting!r}, but the checkpoint says {name[found.v_prediction]} "
            f"({found.where}); the LoRA will not work with it. Set it to auto"
        )
    if found.zero_terminal_snr and not zero_terminal_snr:
        said.append("warning: the checkpoint was made with zero terminal SNR; set objective.zero_terminal_snr = true")
    return said
