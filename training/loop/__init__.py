"""The training loop: what is prepared, one step, its state, samples and validation."""
