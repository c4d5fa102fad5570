"""Read a picture on standard input, write it as PNG: a WebUI answers in the format that it saves in (samples_format).

Runs in the WebUI's environment, whose Pillow it uses, as the WebUI's user.
"""

from __future__ import annotations

import io
import sys

LARGEST = 2_000_000
"""Pixels of a picture, and bytes of its file."""


def main() -> None:
    """Convert. Exits 1 with a sentence if it is no picture."""
    from PIL import Image  # only the WebUI's environment has it

    data = sys.stdin.buffer.read(LARGEST)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "WEBP")) as image:
            if image.width * image.height > LARGEST:
                raise ValueError(f"it has {image.width}x{image.height} pixels")
            image.convert("RGB").save(sys.stdout.buffer, "PNG")
    except (OSError, ValueError, SyntaxError) as error:
        sys.exit(f"the WebUI sent a picture that cannot be read: {error}")
