"""Entry point with the launch contract of stable-diffusion-webui. Test furniture, not AUTOMATIC1111's code."""

import sys

from standin.options import parse_options


def main() -> int:
    """Check the installation unless told not to, then serve; returns the exit code."""
    options = parse_options(sys.argv[1:])
    if not options.skip_prepare_environment:
        from standin.prepare import prepare_environment

        prepare_environment(options)
    if options.exit:
        print("Exiting because of --exit argument")
        return 0
    from standin.server import serve

    code: int = serve(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
