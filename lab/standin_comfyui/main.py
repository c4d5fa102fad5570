"""Entry point with the launch contract of ComfyUI. Test furniture, not ComfyUI's code."""

import sys

from comfy.options import parse_options


def main() -> None:
    """Serve until the process is ended; with --quick-test-for-ci only up to that point."""
    options = parse_options(sys.argv[1:])
    from comfy.server import serve

    serve(options)


if __name__ == "__main__":
    main()
