"""Reads configs of kohya's sd-scripts, lora-scripts and kohya_ss. Imports without torch.

Every key is either honoured, or listed with the reason why it is not; none is silently ignored.
"""

from training.kohya.convert import convert
from training.kohya.load import is_kohya, load_any, translate
from training.kohya.report import Report
from training.kohya.translation import Translation
from training.kohya.write import to_toml

__all__ = ["Report", "Translation", "convert", "is_kohya", "load_any", "to_toml", "translate"]
