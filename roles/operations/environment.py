"""Python environments from a hashed lock, one folder per hash of all that goes into them."""

import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.facts.seen import INVENTORY, HostSurvey, inventory_command
from roles.managers import Manager
from roles.operations.application import Environment, build_tools
from roles.operations.files import Commands, or_remove, put, replace
from roles.operations.locks import build_of_pytorchs_own, overridden
from roles.operations.sandbox import bounded, shut_in
from roles.operations.sources import checkout_command
from roles.paths import WITH_MIRRORS, Paths
from roles.programs import command

SCRATCH = ("src", "tools", "tools.txt", "wheels", "resolved.txt")
"""What a build leaves beside the environment, to be removed."""
PYTHON_PROXY = "${SDFLEET_PYTHON_PROXY:+https_proxy=$SDFLEET_PYTHON_PROXY} "
"""For commands of uv that download a Python from GitHub and nothing else: the mirrors role says over which proxy."""
BUILD_SECONDS = 1800
BUILD_MEMORY = 4 << 30
CHECK_SECONDS = 300


@operation()
def environment(wanted: Environment, paths: Paths, seen: HostSurvey, manager: Manager) -> Commands:
    """
    Build a Python environment beside its place and rename it when it is whole.

    The distribution's Python is used where it has the wanted minor version, else one that uv brings.

    + wanted: what goes into it
    + paths: the host's paths
    + seen: a survey that looked at its folder, and whether that is whole
    """
    final = wanted.folder(paths)
    if seen.whole(final):
        host.noop(f"environment {wanted.key} is built")
        return
    build = paths.envs / f".{wanted.key}.building"
    lock, resolved = build / "requirements.lock", build / "resolved.txt"
    uv = _uv(paths)
    new, python = shlex.quote(str(build)), shlex.quote(str(build / "bin/python"))
    # Whatever killed builds left goes, those of other environments too: they are gigabytes. When the controller
    # dies, its last command runs on here: the lock waits for it, so that it can't write into the new build.
    # Nobody else can take it: flock lets whoever can read a file lock it.
    yield f"(umask 077; : >>{_lock(paths)}) && chmod 600 {_lock(paths)}"
    yield f"flock {_lock(paths)} sh -c " + shlex.quote(f"rm -rf {shlex.quote(str(paths.envs))}/.*.building")
    yield f"{_uv(paths, PYTHON_PROXY)} venv --quiet --relocatable --python {wanted.python} {new}"
    yield put(lock, wanted.lock)
    yield from _wheels(wanted, build, paths, manager)
    # Nothing of a package has run yet, nor does now: uv unpacks wheels into an environment that is still empty.
    strict = "--no-build --require-hashes"
    sync = f"{uv} pip sync --quiet {strict} {_torch_index(wanted.lock)}--python {python} {shlex.quote(str(resolved))}"
    yield or_remove(sync, build)
    yield f"rm -rf {' '.join(shlex.quote(str(build / name)) for name in SCRATCH)}"
    # Its Python runs what packages add to each start (.pth files): never as root.
    settings = {"HOME": "/tmp", "UV_NO_CONFIG": "1", "UV_CACHE_DIR": "/tmp/uv"}
    checked = shut_in(manager, CHECK_SECONDS, settings)
    check = [str(paths.uv), "pip", "check", "--quiet", "--offline", "--python", str(build)]
    yield or_remove(bounded(shlex.join([*checked, *but_for(overridden(wanted.lock), check)])), build)
    yield f"{inventory_command(build)} > {new}/{INVENTORY}"
    yield f"chmod -R go+rX,go-w {new} && {replace(build, final)}"


def _wheels(wanted: Environment, build: PurePosixPath, paths: Paths, manager: Manager) -> Commands:
    """The commands that build what has no wheel, and leave resolved.txt with a wheel for every entry of the lock."""
    uv, tools, wheels = _uv(paths), build / "tools", build / "wheels"
    pins, python = build / "tools.txt", shlex.quote(str(tools / "bin/python"))
    yield f"{_uv(paths, PYTHON_PROXY)} venv --quiet --python {wanted.python} {shlex.quote(str(tools))}"
    yield put(pins, build_tools())
    sync = f"{uv} pip sync --quiet --no-build --require-hashes --python {python} {shlex.quote(str(pins))}"
    yield or_remove(sync, build)
    words = command(paths.onhost, "build_wheels", "--lock", build / "requirements.lock", "--into", wheels)
    words += ["--resolved", str(build / "resolved.txt"), "--uv", str(paths.uv), "--python", str(tools / "bin/python")]
    for name, source in wanted.packages.items():
        tree = build / "src" / name
        yield or_remove(checkout_command(source, tree, paths), build)
        words += ["--tree", f"{name}={tree}"]
    words += ["--sandbox", shlex.join(builder(manager))]
    run = f"flock {_lock(paths)} {shlex.join(words)}"
    yield or_remove(f'umask 022; {WITH_MIRRORS}; {run} --index "$UV_DEFAULT_INDEX"', build)


def but_for(packages: Collection[str], check: Sequence[str]) -> Sequence[str]:
    """A command that checks an environment with `uv pip check`, and does not mind versions of `packages`."""
    if not packages:
        return check
    fine = f"^The package .* requires `({'|'.join(map(re.escape, packages))})[^a-z0-9._-].* is installed$|^Found "
    script = 'said=$("$@" 2>&1) && exit 0; printf "%s\\n" "$said" | grep -vE "$0" && exit 1; test -n "$said"'
    return ["sh", "-c", script, fine, *check]


def builder(manager: Manager) -> Sequence[str]:
    """The words before a command that builds a package which has no wheel, as a user of its own."""
    return shut_in(manager, BUILD_SECONDS, {"HOME": "/tmp"}, BUILD_MEMORY)


def _torch_index(lock: str) -> str:
    """Options that make uv look on PyTorch's own index too, if the lock names a build that only it has."""
    build = build_of_pytorchs_own(lock)
    if not build:
        return ""
    options = f'--index "$SDFLEET_TORCH_INDEX/{build}" --index-strategy unsafe-best-match'
    return f"${{SDFLEET_TORCH_INDEX:+{options}}} "


def _uv(paths: Paths, more: str = "") -> str:
    """uv with its cache, Pythons and mirrors; the first words of a shell command.

    + more: further words for env
    """
    settings = {
        # Only the distribution's programs: a Python below /root or in somebody's conda is no use to services.
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "UV_CACHE_DIR": paths.uv_cache,
        "UV_PYTHON_INSTALL_DIR": paths.pythons,
        "UV_PYTHON_PREFERENCE": "system",
        "UV_NO_CONFIG": "1",
    }
    words = " ".join(f"{key}={shlex.quote(str(value))}" for key, value in settings.items())
    run = f"flock {_lock(paths)} env {words} {more}{shlex.quote(str(paths.uv))}"
    return f"umask 022; {WITH_MIRRORS}; {run}"


def _lock(paths: Paths) -> str:
    return shlex.quote(str(paths.envs / ".lock"))
