"""A training that sleeps: a line a step in logs/, and at the end a file in output/."""

import json
import sys
import tempfile
import time
from pathlib import Path

config = json.loads(Path(sys.argv[1]).read_text())
log = Path("logs") / f"{config['output_name']}.txt"
for step in range(1, config["max_train_steps"] + 1):
    # Real trainings use temporary files all along, too.
    with tempfile.TemporaryFile() as scratch:
        scratch.write(b"step")
    with log.open("a") as lines:
        lines.write(f"{step}\n")
    time.sleep(config.get("seconds_a_step", 0.2))
Path(f"output/{config['output_name']}.safetensors").write_bytes(b"trained")
