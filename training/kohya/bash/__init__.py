"""Evaluates bash scripts that start a training, without running any program."""

from training.kohya.bash.evaluate import Script, evaluate_script
from training.kohya.bash.expansion import Value, used_names
from training.kohya.bash.launch import Launch

__all__ = ["Launch", "Script", "Value", "evaluate_script", "used_names"]
