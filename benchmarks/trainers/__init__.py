"""Parts of benchmarks/trainer.py: materials, the bare loop, and the hook for taking turns."""
