"""Large files from the controller, for a login that is root and for one that becomes root with sudo."""

import secrets
import shlex
from collections.abc import Generator
from pathlib import Path, PurePosixPath

from pyinfra.api.command import FileUploadCommand, PyinfraCommand, StringCommand

OWN_FOLDER = 'rm -rf {parent}/.upload-* && mkdir -m 700 {folder} && chown "${{SUDO_UID:-0}}" {folder}'
"""sudo sets SUDO_UID. What an upload that broke off has left goes first: the host's lock keeps others away."""
TAKE = "install -m 600 -T {arrived} {dest}; status=$?; rm -rf {folder}; exit $status"
"""Root keeps a copy: the login may still have the file that arrived open."""


def upload(source: Path, dest: PurePosixPath) -> Generator[PyinfraCommand, None, None]:
    """The commands that send a file of any size to `dest`, in a folder of root's, readable by root alone.

    The connector writes as the login. pyinfra's own way with sudo is a file in /tmp with a name that anybody can
    compute, create first, and read; here it is a folder that only the login can enter, on the file system of `dest`.
    """
    folder = dest.parent.parent / f".upload-{secrets.token_hex(8)}"
    arrived = folder / dest.name
    places = {"parent": folder.parent, "folder": folder, "arrived": arrived, "dest": dest}
    quoted = {name: shlex.quote(str(place)) for name, place in places.items()}
    yield StringCommand(OWN_FOLDER.format(**quoted))
    yield FileUploadCommand(str(source), str(arrived), _sudo=False)
    yield StringCommand(TAKE.format(**quoted))
