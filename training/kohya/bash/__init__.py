"""Bash scripts that start one training, followed to their launch command without running anything."""

from training.kohya.bash.evaluate import Script, follow
from training.kohya.bash.expansion import Value, used_names
from training.kohya.bash.launch import Launch

__all__ = ["Launch", "Script", "Value", "follow", "used_names"]
