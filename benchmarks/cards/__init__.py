"""What benchmarks/gpu.py runs: models of the real shapes, the bare loop, several trainings in one process."""
