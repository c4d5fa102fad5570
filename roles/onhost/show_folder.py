"""Show a folder of root's under a name in a folder that a service may write: with a link.

    show_folder.py LINK TARGET ASIDE

A folder or file that stands under the name is moved into the folder ASIDE, which is root's; nothing is deleted.
"""

from __future__ import annotations

import os
import stat
import sys
import time

from roles.onhost import nofollow


def main(link: str, target: str, aside: str) -> None:
    """Do it."""
    with nofollow.beside(link) as (parent, name):
        try:
            there = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            there = None
        if there and not stat.S_ISLNK(there.st_mode):
            with nofollow.folder(aside) as kept:
                os.rename(name, f"{name}-{time.time_ns()}", src_dir_fd=parent, dst_dir_fd=kept)
    nofollow.link(link, target)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
