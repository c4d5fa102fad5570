"""Console entry points: make the project tree beside this file importable, then run a program of it."""

import sys
from pathlib import Path

TREE = Path(__file__).resolve().parent


def main() -> None:
    """Run `sdfleet`, the fleet's command line."""
    sys.path.insert(0, str(TREE))
    from deploy import interrupts

    interrupts.listen()
    try:
        from deploy.cli import run
    except KeyboardInterrupt:  # nothing was begun yet that anything could be said about
        sys.exit(interrupts.exit_code())
    run()


def lora_train() -> None:
    """Run `lora-train`, the trainer's command line."""
    sys.path.insert(0, str(TREE))
    from inventory import extras

    try:
        extras.require("lora-train")
    except extras.MissingExtra as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    from training.cli import run

    run()


if __name__ == "__main__":
    main()
