"""ComfyUI role: the pinned ComfyUI with its custom nodes and environment, started by systemd, healthy."""
