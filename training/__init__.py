"""The LoRA trainer. Independent of fleets."""

import os

# By default, Intel's MKL rounds differently from run to run when cores are busy. It reads this at its first call.
os.environ.setdefault("MKL_CBWR", "AUTO")
