"""The training loop: preparation, steps, state, sample pictures and validation."""
