"""The stand-in ComfyUI: test furniture of sdfleet's lab."""
