"""lora-scripts role: its GUI and TensorBoard at a pinned commit, submodules included, as services on loopback."""
