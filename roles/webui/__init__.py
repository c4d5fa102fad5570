"""WebUI role: the pinned WebUI, its repositories and its environment, started by systemd, healthy."""
