"""What benchmarks/trainer.py runs: materials, the bare loop, and the hook that lets trainers take turns."""
