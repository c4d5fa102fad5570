"""supervisord on a host without systemd, and the script that starts it with all services."""

import shlex
from pathlib import Path, PurePosixPath

from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import server

from roles.accounts import CACHE, GATEWAY, HOMES, SANDBOX
from roles.data_root import opening, to_open, way
from roles.facts.seen import HostSurvey
from roles.facts.supervisord import Serves
from roles.onhost import supervisor
from roles.operations.accounts import system_users
from roles.operations.files import Commands, folders, rendered
from roles.operations.packages import APT, FINISH_DPKG, INSTALLED
from roles.operations.tools import put_tool, tool_record
from roles.paths import ETC, Folder, Paths
from templates import render

VERSION = "4.3.0"
LOCK = Path(__file__).resolve().parent / f"supervisor/{VERSION}.txt"
"""supervisor with the hash of its wheel; it needs no other package."""
HOOKS = {"AutoDL": PurePosixPath("/etc/autodl.sh"), "vast.ai": PurePosixPath("/root/onstart.sh")}
"""Provider -> the script that its containers run at each start."""
SHELL = "#!/bin/bash"
OURS = "  # sdfleet"
"""The end of our line in such a script."""
NOWHERE = PurePosixPath("/nonexistent")
"""Home of users who own nothing that lasts."""


def texts(paths: Paths) -> dict[PurePosixPath, str]:
    """The files of supervisord -> text."""
    return {
        paths.supervisor / "supervisord.conf": render(
            "base/supervisord.conf.j2", home=paths.supervisor, run=supervisor.RUN
        ),
        paths.supervisor / "packages.sh": render(
            "base/packages.sh.j2", packages=paths.packages, installed=INSTALLED, finish=FINISH_DPKG, apt=APT
        ),
        paths.boot: render(
            "base/boot.sh.j2",
            home=paths.supervisor,
            onhost=paths.onhost,
            opening=" &&\n".join(opening(folder, paths.root) for folder in reversed(way(paths.root))),
            etc=ETC,
            kept_etc=paths.etc,
        ),
    }


def homes(paths: Paths) -> dict[str, PurePosixPath]:
    """User -> home: those that systemd's hosts have, the cache's, and those that systemd makes when needed."""
    own = {user: paths.data(app) for user, app in HOMES.items()}
    return own | {CACHE: paths.http_cache, SANDBOX: NOWHERE, GATEWAY: NOWHERE}


def users_script(paths: Paths) -> PurePosixPath:
    """The script that creates them, at a boot too."""
    return paths.supervisor / "users.sh"


def ids(paths: Paths) -> PurePosixPath:
    """Root's file of their numbers: a line of name, user's and group's number for each."""
    return paths.supervisor / "users"


def create_users(paths: Paths, seen: HostSurvey) -> None:
    """Create the users with the numbers that their files on the data disk have.

    + seen: a survey that looked at the users, and read `read`
    """
    script = users_script(paths)
    text = render("base/users.sh.j2", ids=ids(paths), root=paths.root, users=homes(paths))
    rendered(name=f"Write {script.name}", dest=script, text=text, seen=seen, mode=0o755)
    kept = [line.split(" ")[0] for line in (seen.text(ids(paths)) or "").splitlines()]
    if any(user not in seen.users or user not in kept for user in homes(paths)):
        server.shell(name="Create service users", commands=[shlex.quote(str(script))])
    known = {user: home for user, home in homes(paths).items() if user in seen.users}
    system_users(name="Give service users their homes", homes=known, seen=seen)


def wanted_folders(paths: Paths) -> list[Folder]:
    """Folders of supervisord, parents first; what services write may hold secrets."""
    home = paths.supervisor
    return [
        Folder(home),
        *(Folder(home / name) for name in ("services", "enabled", "programs")),
        Folder(home / "logs", mode=0o700),
    ]


def looked_at(paths: Paths) -> list[PurePosixPath]:
    """Paths that `install` has to know of, beside its texts and hooks."""
    own = [folder.path for folder in wanted_folders(paths)]
    return [tool_record("supervisor", VERSION, paths), *own, *way(paths.root)]


def read(paths: Paths) -> list[PurePosixPath]:
    """Texts that `install` and `create_users` have to know."""
    return [*texts(paths), *HOOKS.values(), users_script(paths), ids(paths)]


def open_way(paths: Paths, seen: HostSurvey) -> None:
    """Let services pass to the data root through folders that are closed, such as /root, and see nothing else there.

    + seen: a survey that looked at `looked_at`
    """
    entries = {folder: seen.entry(folder) for folder in way(paths.root)}
    modes = {folder: entry.mode for folder, entry in entries.items() if entry and entry.kind == "d"}
    for folder in host.loop(to_open(modes)):
        name = f"Let services pass through {folder}, and close what else is in it"
        server.shell(name=name, commands=[opening(folder, paths.root)])


def install(paths: Paths, provider: str, seen: HostSurvey) -> None:
    """Install supervisord, and have it started with the host.

    + provider: name of the host's provider, empty for none
    + seen: a survey that looked at `looked_at`, and read `read`
    """
    folders(name="Make supervisord's folders", wanted=wanted_folders(paths), seen=seen)
    supervisor_installed(name=f"Install supervisor {VERSION}", paths=paths, seen=seen)
    for place, text in host.loop(list(texts(paths).items())):
        mode = 0o755 if place.suffix == ".sh" else 0o644
        rendered(name=f"Write {place.name}", dest=place, text=text, seen=seen, mode=mode)
    for name, hook in host.loop(list(HOOKS.items())):
        if name == provider:
            start_from(hook, paths, seen)
    if not host.get_fact(Serves, paths=paths):
        server.shell(name="Start supervisord", commands=[shlex.quote(str(paths.boot))])


def start_from(hook: PurePosixPath, paths: Paths, seen: HostSurvey) -> None:
    """Have a provider's start script run ours first; what else is in it stays, and may end in exec or exit.

    The user's part may hold tokens and any bytes: the host itself puts our line into it, and no plan shows it.
    """
    entry = seen.entry(hook)
    if entry and entry.kind != "f":
        raise DeployError(
            f"{hook}, which the provider runs at each start, is no plain file: make it one, with the line "
            f"{paths.boot}, and apply again"
        )
    name, ours = f"Start services from {hook}", f"{shlex.quote(str(paths.boot))} || true{OURS}"
    if not entry:
        rendered(name=name, dest=hook, text=f"{SHELL}\n{ours}\n", seen=seen, mode=0o755)
    elif not entry.mode & 0o100 or not _begins(seen.text(hook) or "", ours):
        server.shell(name=name, commands=[_put_first(hook, ours)])


def _begins(text: str, ours: str) -> bool:
    """Whether that is the first line of a script after its interpreter, and no other line is ours."""
    lines = text.split("\n")
    own = [number for number, line in enumerate(lines) if line.endswith(OURS)]
    first = int(lines[0].startswith("#!"))
    return own == [first] and lines[first] == ours


def _put_first(hook: PurePosixPath, ours: str) -> str:
    """The shell command that makes our line the first of a script, which keeps its owner and who may read it."""
    old, new = shlex.quote(str(hook)), shlex.quote(f"{hook}.sdfleet-new")
    steps = (
        f"install -m 600 /dev/null {new}",
        f"{{ [ -s {old} ] || echo {shlex.quote(SHELL)}; LC_ALL=C sed -n '1{{/^#!/p}}' {old}; echo {shlex.quote(ours)}; "
        f"LC_ALL=C sed -e '1{{/^#!/d}}' -e '/{OURS}$/d' {old}; }} >{new}",
        f"chown --reference={old} {new}",
        f"chmod --reference={old} {new}",
        f"chmod u+x {new}",
        f"sync {new}",
        f"mv -fT {new} {old}",
    )
    return " && ".join(steps)


@operation()
def supervisor_installed(paths: Paths, seen: HostSurvey) -> Commands:
    """
    Install supervisor from the package index, pinned by hash, into a folder of its own.

    + seen: a survey that looked at its record
    """
    if seen.entry(tool_record("supervisor", VERSION, paths)):
        host.noop(f"supervisor {VERSION} is installed")
        return
    yield from put_tool("supervisor", LOCK.read_text(), paths, seen, "--only-binary :all:")
