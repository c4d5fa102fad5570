"""Reads configs of kohya's sd-scripts, lora-scripts and kohya_ss. Imports without torch.

Every key is either honoured, or listed with the reason why it is not; none is silently ignored.

Words here: a *key* is an option of sd-scripts, by whatever kind of file it is given; an *entry* is the value of a key
with the name that the file has for it; an *argument* is one NAME=VALUE inside network_args or optimizer_args; a
*setting* is ours, at its dotted *path*.
"""

from training.kohya.convert import convert
from training.kohya.load import is_kohya, load_any, translate
from training.kohya.report import Report
from training.kohya.translation import Translation
from training.kohya.write import to_toml

__all__ = ["Report", "Translation", "convert", "is_kohya", "load_any", "to_toml", "translate"]
