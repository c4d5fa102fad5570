"""Print a file that a service wrote, from a byte on. Runs on the host; see the package's sentence.

send_file.py PATH OFFSET SIZE       no byte after SIZE: a file can be made endless while it is sent
"""

import sys

from roles.onhost import nofollow


def main(path: str, offset: int, size: int) -> None:
    """Do it; OSError for what is no regular file."""
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
