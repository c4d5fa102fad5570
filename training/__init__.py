"""What runs on the GPU: the LoRA training recipe. Knows nothing of fleets."""
