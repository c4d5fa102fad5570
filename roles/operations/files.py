"""Files, folders and links whose whole desired state is known beforehand."""

import base64
import difflib
import hashlib
import json
import shlex
from collections.abc import Generator, Sequence
from pathlib import PurePosixPath

from pyinfra.api.command import FileUploadCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from roles.facts.seen import HostSurvey
from roles.paths import Folder
from roles.programs import receiver, sent

Commands = Generator[StringCommand | FileUploadCommand | str, None, None]


@operation()
def rendered(
    dest: PurePosixPath, text: str, seen: HostSurvey, mode: int = 0o644, owner: str = "root", group: str = "root"
) -> Commands:
    """
    Write a text file: beside its place first, then renamed, so that no reader ever sees half of it.

    + dest: the file
    + text: its whole content
    + seen: a survey that has `dest` among its texts
    """
    yield from write(dest, text, seen, mode, owner, group)


def write(
    dest: PurePosixPath, text: str, seen: HostSurvey, mode: int = 0o644, owner: str = "root", group: str = "root"
) -> Commands:
    """The commands of `rendered`, for use inside other operations."""
    entry, old = seen.entry(dest), seen.text(dest)
    if entry and entry.kind == "f" and old == text:
        if (entry.mode, entry.owner, entry.group) == (mode, owner, group):
            host.noop(f"{dest} is already so")
            return
        yield f"chown {owner}:{group} {shlex.quote(str(dest))} && chmod {mode:o} {shlex.quote(str(dest))}"
        return
    if state.config.DIFF and not state.is_executing:
        _log_diff(dest, old or "", text, private=not mode & 0o044)
    yield StringCommand(put_command(dest, text.encode(), mode, owner, group), _stdin=[text])


def put_command(
    dest: PurePosixPath, content: bytes, mode: int, owner: str, group: str, *, coded: bytes | None = None
) -> str:
    """The shell command that makes a file of what comes over standard input, if that begins with all of `content`.

    + coded: what is sent instead, `content` in base64
    """
    new = shlex.quote(f"{dest}.sdfleet-new")
    receive = f"head -c {len(content)}" if coded is None else f"head -c {len(coded)} | base64 -d"
    steps = (
        f"mkdir -p {shlex.quote(str(dest.parent))}",
        # The new file is closed to others before anything is in it.
        f"install -m 600 /dev/null {new}",
        # pyinfra ends what it sends with a line break; and a connection may break before all is there.
        f"{receive} >{new}",
        f'test "$(sha256sum <{new})" = "{hashlib.sha256(content).hexdigest()}  -"',
        f"chown {owner}:{group} {new}",
        f"chmod {mode:o} {new}",
        # After a power cut the file is the old or the new one.
        f"sync {new}",
        f"mv -fT {new} {shlex.quote(str(dest))}",
    )
    return " && ".join(steps)


def private_file(place: PurePosixPath, content: str) -> Commands:
    """The commands that write a file only root can read; no diff shows it."""
    yield put(place, content, mode=0o600)


def put(dest: PurePosixPath, content: str | bytes, mode: int = 0o644) -> StringCommand:
    """The command that writes a file of root's, its content on standard input.

    pyinfra's own upload, where the login is no root, goes through a file in /tmp with a known name that everybody can
    read, and that another user of the host may have put there.
    """
    if isinstance(content, str):
        return StringCommand(put_command(dest, content.encode(), mode, "root", "root"), _stdin=[content])
    coded = base64.b64encode(content)
    return StringCommand(put_command(dest, content, mode, "root", "root", coded=coded), _stdin=[coded.decode()])


def _log_diff(dest: PurePosixPath, old: str, new: str, *, private: bool) -> None:
    if private:
        host.log(f"{dest} changes; only root may read it, so what changes is not shown")
        return
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), f"{dest} now", f"{dest} then", lineterm="", n=2)
    for line in lines:
        host.log(line)


@operation()
def folders(wanted: Sequence[Folder], seen: HostSurvey) -> Commands:
    """
    Make folders with their owners and modes; what is in them is left alone.

    + wanted: the folders, parents before children
    + seen: a survey that looked at them
    """
    wrong = [folder for folder in wanted if not _is_so(folder, seen)]
    if not wrong:
        host.noop("all folders are already so")
        return
    yield make_folders(wrong)


def make_folders(wanted: Sequence[Folder]) -> StringCommand:
    """The command that makes folders, parents first, and fails where a link or a file has such a name."""
    told = [{"path": str(f.path), "owner": f.owner, "group": f.group, "mode": f.mode} for f in wanted]
    return StringCommand(shlex.join(receiver(json.dumps(told))), _stdin=[sent("make_folders")])


def _is_so(folder: Folder, seen: HostSurvey) -> bool:
    entry = seen.entry(folder.path)
    return entry is not None and (entry.kind, entry.mode, entry.owner, entry.group) == (
        "d",
        folder.mode,
        folder.owner,
        folder.group,
    )


def replace(built: PurePosixPath, final: PurePosixPath) -> str:
    """The command that gives a built folder its final name; one that has it (a broken one) makes way."""
    old = final.with_name(f".{final.name}.old")
    new, here, aside = (shlex.quote(str(path)) for path in (built, final, old))
    return f"rm -rf {aside} && {{ [ ! -e {here} ] || mv -T {here} {aside}; }} && mv -T {new} {here} && rm -rf {aside}"


def refuse_if_used(folder: PurePosixPath) -> str:
    """The command that fails if a process was started from a folder that is there, and so would lose it."""
    # The slash comes from printf: no command line of this check itself names anything below the folder.
    mark = f"printf '%s/' {shlex.quote(str(folder))} | grep -qsaFf - /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    said = f"{folder} is damaged, and a program uses it; apply again when it has ended"
    return f"if {mark}; then echo {shlex.quote(said)} >&2; exit 1; fi"


def or_remove(command: str, folder: PurePosixPath) -> str:
    """The shell command that does `command`, or removes the folder that it fills and fails: it may be gigabytes."""
    return f"( {command} ) || {{ status=$?; rm -rf {shlex.quote(str(folder))}; exit $status; }}"
