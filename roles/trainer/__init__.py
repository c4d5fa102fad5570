"""Trainer role: the bundled training recipe in its environment, one systemd unit a run."""
