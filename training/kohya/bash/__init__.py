"""Evaluates bash scripts that start a training, without running any program."""

from training.kohya.bash.evaluate import Script, evaluate_script
from training.kohya.bash.launch import Launch
from training.kohya.bash.shell import Value, used_names

__all__ = ["Launch", "Script", "Value", "evaluate_script", "used_names"]
