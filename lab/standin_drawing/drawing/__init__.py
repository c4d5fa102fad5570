"""What the stand-ins of the WebUI and of ComfyUI draw with: test furniture of sdfleet's lab."""
