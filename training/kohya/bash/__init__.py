"""Evaluates bash scripts that start a training, without running any program."""

from training.kohya.bash.evaluate import Script, evaluate_script
from training.kohya.bash.launch import Launch
from training.kohya.bash.shell import Field, used_names

__all__ = ["Field", "Launch", "Script", "evaluate_script", "used_names"]
