"""Make folders with their owners and modes, parents first; what is in them is left alone.

    make_folders JSON        a list of {"path", "owner", "group", "mode"}

A link or a file under such a name is not followed and not replaced: a service can plant one in a folder of its own.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import sys

from roles.onhost import nofollow, nofollow_changes


def main() -> None:
    """Make them; exit 1 with a sentence if that fails."""
    try:
        make(json.loads(sys.argv[1]))
    except (OSError, KeyError) as error:
        sys.exit(str(error))


def make(wanted: list[dict[str, str | int]]) -> None:
    """Make them."""
    for entry in wanted:
        uid, gid = pwd.getpwnam(str(entry["owner"])).pw_uid, grp.getgrnam(str(entry["group"])).gr_gid
        path, mode = str(entry["path"]), int(entry["mode"])
        make_parents(os.path.dirname(path))
        nofollow_changes.make_folder(path, uid, gid, mode)


def make_parents(path: str) -> None:
    """Make what is missing above a folder, as root's."""
    try:
        os.close(nofollow.open_folder(path))
    except FileNotFoundError:
        make_parents(os.path.dirname(path))
        nofollow_changes.make_folder(path, os.geteuid(), os.getegid(), 0o755)
