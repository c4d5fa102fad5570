"""Entry point with the launch contract of lora-scripts. Test furniture, not Akegarasu's code."""

import argparse

from mikazuki.app import build

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=28000)
    parser.add_argument("--tensorboard-port", type=int, default=6006)
    for flag in ("--skip-prepare-environment", "--disable-tensorboard", "--disable-tageditor", "--disable-auto-mirror"):
        parser.add_argument(flag, action="store_true", required=True, help="nothing else is offered here")
    options = parser.parse_args()

    import uvicorn

    uvicorn.run(build(), host=options.host, port=options.port, log_level="warning")
