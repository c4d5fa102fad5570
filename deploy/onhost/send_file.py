"""Print a file that a service wrote, from an offset on. Runs on the host; see the package's docstring.

send_file.py PATH OFFSET SIZE       stops at SIZE: a file can grow without end while it is sent
"""

import sys

from roles.onhost import nofollow


def main(path: str, offset: int, size: int) -> None:
    """Raises OSError if `path` is no regular file."""
    with nofollow.open_file(path) as file:
        file.seek(offset)
        while offset < size and (block := file.read(min(1 << 20, size - offset))):
            sys.stdout.buffer.write(block)
            offset += len(block)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    except OSError as error:
        sys.exit(str(error))
