"""What runs on the GPU: the LoRA training recipe. Knows nothing of fleets."""

import os

# Left to itself, Intel's MKL rounds otherwise from run to run when the cores are busy. It reads this at its first call.
os.environ.setdefault("MKL_CBWR", "AUTO")
