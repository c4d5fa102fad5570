"""Operations of the base role."""

import logging
from pathlib import PurePosixPath

from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import server

from roles.accounts import HOMES, SHARED, SHARED_HOMES
from roles.base import boot, tf_logs
from roles.base.config import UV_LOCKS, Base
from roles.base.rendering import CONFIRM_UNIT, confirm_text
from roles.data_root import better_root, on_system_disk
from roles.facts.provider import Provider
from roles.facts.seen import HostSurvey
from roles.facts.survey import Survey
from roles.managers import SYSTEMD, Manager
from roles.onhost.provider import DISKS
from roles.operations.accounts import system_users
from roles.operations.files import Commands, folders
from roles.operations.packages import install_packages
from roles.operations.programs import own_programs, remove_old_programs
from roles.operations.tools import put_tool, tool_record
from roles.operations.units import write_units
from roles.paths import Folder, Paths
from roles.settings import SettingError

GB = 10**9
OLD_PROGRAMS = ("pinned_checkout", "activate", "prune", "build_wheels", "apt_key", "webui_extensions")
"""Files of an older sdfleet that only its own commands named."""


@deploy("Base")
def install(base: Base, paths: Paths, manager: Manager, trains: bool) -> None:
    """
    Install packages, users, folders and tools.

    + base: the role's settings
    + paths: the host's paths
    + manager: the host's service manager
    + trains: whether the host has training runs
    """
    wanted, own_manager = wanted_folders(paths, manager), manager != SYSTEMD
    homes = boot.homes(paths) if own_manager else {user: paths.data(app) for user, app in HOMES.items()}
    provider = host.get_fact(Provider) if own_manager else ""
    seen = _survey(base, paths, [folder.path for folder in wanted], list(homes), manager)
    better = _better_root(paths, provider, seen)
    _refuse_small_disk(base, paths, seen, better)
    install_packages(base.packages, seen, manager)
    if own_manager:
        boot.open_way(paths, seen)
        boot.create_users(paths, seen)
    else:
        system_users(name="Create service users", homes=homes, seen=seen)
    folders(name="Make folders", wanted=wanted, seen=seen)
    own_programs(name="Install sdfleet's own programs", paths=paths, seen=seen)
    remove_old_programs(OLD_PROGRAMS, paths, seen)
    uv_installed(name=f"Install uv {base.uv_version}", base=base, paths=paths, seen=seen)
    if own_manager:
        boot.install(paths, provider, seen)
        tf_logs.show_runs(paths.runs if trains else None, provider, seen)
    go_back_unless_confirmed(paths, manager, seen)


def _survey(base: Base, paths: Paths, places: list[PurePosixPath], users: list[str], manager: Manager) -> HostSurvey:
    """What `install` has to know of a host.

    + places: folders that it makes
    + manager: the host's service manager, which the role brings where it is not systemd
    """
    own_manager, confirming = manager != SYSTEMD, manager.file(CONFIRM_UNIT.name)
    return host.get_fact(
        Survey,
        paths=[
            *places,
            *(paths.uv, paths.onhost, tool_record("uv", base.uv_version, paths)),
            *([*boot.looked_at(paths), tf_logs.LINK] if own_manager else []),
        ],
        texts=[paths.tools / "uv.txt", confirming, *(boot.read(paths) if own_manager else [])],
        units=manager.show([CONFIRM_UNIT.name]),
        packages=base.packages,
        users=users,
        folders=[paths.envs, paths.old_programs],
        digests=[paths.onhost],
        disks=[paths.root, *sorted({PurePosixPath(disk) for disk in DISKS.values()} if own_manager else [])],
    )


def go_back_unless_confirmed(paths: Paths, manager: Manager, seen: HostSurvey) -> None:
    """Have the service that undoes unconfirmed changes start with the host; each change of the host starts it too.

    + seen: a survey that read its file and looked at the unit
    """
    unit, text = manager.file(CONFIRM_UNIT.name), confirm_text(paths, manager)
    write_units({unit: text}, seen, manager)
    if not seen.unit(CONFIRM_UNIT.name).enabled:
        server.shell(name="Let the host go back by itself", commands=[manager.at_boot(CONFIRM_UNIT.name)])


@deploy("Programs")
def install_programs(paths: Paths) -> None:
    """
    Install sdfleet's own programs, for roles that run them, where the base role is not applied.

    + paths: the host's paths
    """
    seen = host.get_fact(Survey, paths=[paths.onhost], digests=[paths.onhost])
    own_programs(name="Install sdfleet's own programs", paths=paths, seen=seen)


def wanted_folders(paths: Paths, manager: Manager) -> list[Folder]:
    """The folders every host has, parents first."""
    shared = [paths.root, paths.tools, paths.uv_cache.parent, paths.uv_cache, paths.git_store]
    shared += [paths.pythons, paths.envs, paths.root / "apps", paths.root / "data", paths.store, paths.hub]
    homes = [
        Folder(paths.data(app), "root", user, SHARED) if user in SHARED_HOMES else Folder(paths.data(app), user, user)
        for user, app in HOMES.items()
    ]
    private = [Folder(path, mode=0o700) for path in (manager.etc, paths.secrets)]
    return [*(Folder(path) for path in shared), *homes, *private]


def _better_root(paths: Paths, provider: str, seen: HostSurvey) -> str:
    """The data root to set instead of one on a container's system disk; empty if there is none, or if it is in use."""
    better = better_root(provider, paths.root, {path: disk.mount for path, disk in seen.disks.items()})
    if not better or _built(paths, seen):
        return ""
    host.log("; ".join(on_system_disk(provider, paths.root, better)), logging.getLogger("pyinfra").warning)
    return better


def _built(paths: Paths, seen: HostSurvey) -> bool:
    """Whether the host has an environment, and so had enough space."""
    return any(not name.startswith(".") for name in seen.names.get(str(paths.envs), []))


def _refuse_small_disk(base: Base, paths: Paths, seen: HostSurvey, better: str) -> None:
    """Refuse a disk that is too small before gigabytes are fetched.

    + better: the data root to set instead, if one is known
    """
    disk = seen.disks.get(str(paths.root))
    if _built(paths, seen) or disk is None or disk.free_bytes >= base.min_free_gb * GB:
        return
    larger = f'set data_root = "{better}"' if better else "point data_root at a larger disk"
    raise SettingError(
        "base.min_free_gb",
        f"is {base.min_free_gb:g}, but the disk of {paths.root} has {disk.free_bytes / GB:.1f} GB free; "
        f"{larger}, or lower base.min_free_gb",
    )


@operation()
def uv_installed(base: Base, paths: Paths, seen: HostSurvey) -> Commands:
    """
    Install uv from the package index, pinned by hash, with pip in a temporary environment.

    + base, paths: settings of the host
    + seen: a survey that looked at uv and its record
    """
    if seen.entry(tool_record("uv", base.uv_version, paths)) and seen.entry(paths.uv):
        host.noop(f"uv {base.uv_version} is installed")
        return
    yield from put_tool("uv", (UV_LOCKS / f"{base.uv_version}.txt").read_text(), paths, seen)
