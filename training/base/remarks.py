"""What a person must know of a base model beside the settings: what it states, and what it makes of them. No torch."""

from training.base import prediction
from training.base.files import DiffusersFolder, TensorFile
from training.sections.model import Family, Model


def base_remarks(
    source: TensorFile | DiffusersFolder, family: Family, model: Model, zero_terminal_snr: bool
) -> list[str]:
    """Messages on what the checkpoint states that is used, or that the settings contradict, or that has no effect."""
    found = prediction.prediction_notes(prediction.detect_prediction(source), model.prediction, zero_terminal_snr)
    if not model.clip_skip_counts(family):
        found.append(
            f"warning: model.clip_skip = {model.clip_skip} has no effect: for SDXL always the text encoders' last "
            "layer but one is used, as by sd-scripts and the WebUI"
        )
    return found
