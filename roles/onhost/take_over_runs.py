"""Make training runs root's own that an older sdfleet gave to the user that trains.

    take_over_runs RUNS USER

The run goes on adding files to its folder. What root gave it is told by its owner: a config, a slot file or a folder of
inputs that is not root's gets another name, with which it instructs nobody.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sys

from roles.onhost import nofollow

GIVEN = ("config.toml", "turn.json", "inputs")
"""What root gives a run."""
MODE = 0o1775
"""Only who owns a name in the folder can remove or move it."""


def main() -> None:
    """Take over every run that is not root's; a line for each name that root did not give."""
    runs, user = sys.argv[1:]
    account = pwd.getpwnam(user)
    with nofollow.folder(runs) as opened:
        for name in sorted(os.listdir(opened)):
            with contextlib.suppress(OSError):
                run = os.open(name, nofollow.FOLDER, dir_fd=opened)
                try:
                    if name[0] != "." and os.fstat(run).st_uid == account.pw_uid:
                        for renamed in take_over(run, account.pw_gid):
                            print(f"{name}: {renamed} was not root's and has another name now")
                finally:
                    os.close(run)


def take_over(run: int, gid: int) -> list[str]:
    """Take over a run's open folder; what in it was not root's, although root gives it."""
    # First the folder: from here on nobody can swap what is root's.
    os.fchown(run, 0, gid)
    os.fchmod(run, MODE)
    renamed = []
    for name in GIVEN:
        with contextlib.suppress(FileNotFoundError):
            if os.stat(name, dir_fd=run, follow_symlinks=False).st_uid != 0:
                os.rename(name, f"{name}.not-given", src_dir_fd=run, dst_dir_fd=run)
                renamed.append(name)
    return renamed
