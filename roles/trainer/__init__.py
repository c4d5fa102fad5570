"""Trainer role: the bundled training recipe in its environment, with one systemd unit per run."""
