"""Bash scripts that start one training, followed to their launch command without running anything."""

from training.kohya.bash.evaluate import Launch, Script, Value, follow, used_names

__all__ = ["Launch", "Script", "Value", "follow", "used_names"]
