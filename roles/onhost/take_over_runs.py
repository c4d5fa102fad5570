"""Make training runs root's own that an older sdfleet gave to the user that trains.

    take_over_runs.py RUNS USER

The run goes on adding files to its folder. What root gave it is told by its owner: a slot file or a folder of inputs
that is not root's gets another name, with which it instructs nobody. A config of the run's own is what its trainer
completed, as older ones did; root takes a copy as it is now.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sys

from roles.onhost import nofollow

CONFIG = "config.toml"
GIVEN = (CONFIG, "turn.json", "inputs")
"""What root gives a run."""
MODE = 0o1775
"""Only who owns a name in the folder can remove or move it."""


def main(runs: str, user: str) -> None:
    """Take over every run that is not root's; a line for each name that root did not give."""
    account = pwd.getpwnam(user)
    with nofollow.folder(runs) as opened:
        for name in sorted(os.listdir(opened)):
            try:
                run = os.open(name, nofollow.FOLDER, dir_fd=opened)
            except OSError:
                continue  # it is no folder
            try:
                if name[0] != "." and os.fstat(run).st_uid == account.pw_uid:
                    for renamed in take_over(run, account):
                        print(f"{name}: {renamed} was not root's and has another name now")
            except OSError as error:
                sys.exit(f"the run {name} cannot be taken over: {error.strerror}")
            finally:
                os.close(run)


def take_over(run: int, account: pwd.struct_passwd) -> list[str]:
    """Take over a run's open folder; what in it was not root's, although root gives it."""
    # First the folder: from here on nobody can swap what is root's.
    os.fchown(run, 0, account.pw_gid)
    os.fchmod(run, MODE)
    try:
        copy_config(run, account.pw_uid)
    except OSError:
        os.fchown(run, account.pw_uid, account.pw_gid)  # the next apply tries again
        raise
    renamed = []
    for name in GIVEN:
        with contextlib.suppress(FileNotFoundError):
            if os.stat(name, dir_fd=run, follow_symlinks=False).st_uid != 0:
                os.rename(name, f"{name}.not-given", src_dir_fd=run, dst_dir_fd=run)
                renamed.append(name)
    return renamed


def copy_config(run: int, owner: int) -> None:
    """Put a copy of root's in the place of a config that is a file of `owner`'s."""
    with contextlib.suppress(FileNotFoundError, nofollow.UnsafeError):
        found = os.stat(CONFIG, dir_fd=run, follow_symlinks=False)
        nofollow.write_in(run, CONFIG, nofollow.read_in(run, CONFIG, owner=owner))
        # A run is as old as its config.
        os.utime(CONFIG, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=run, follow_symlinks=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
