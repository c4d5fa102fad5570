"""lora-scripts role: its GUI and TensorBoard at a pinned commit, with submodules, as services on loopback."""
