"""Configs written for kohya's sd-scripts or lora-scripts, read as they are.

Every key is either honoured or named in a list with the reason; none is silently dropped. Imports without torch.
"""

from training.kohya.convert import convert
from training.kohya.load import Translation, is_kohya, load_any, translate
from training.kohya.report import Report
from training.kohya.write import to_toml

__all__ = ["Report", "Translation", "convert", "is_kohya", "load_any", "to_toml", "translate"]
