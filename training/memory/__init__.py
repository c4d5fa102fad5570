"""GPU memory and time of a training: the estimate, and settings that save memory."""
