"""WebUI role: the pinned WebUI with its repositories and environment, started by systemd, healthy."""
