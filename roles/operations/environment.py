"""Python environments from a hashed lock, one folder per hash of all that goes into them."""

import re
import shlex
from io import StringIO

from pyinfra.api.command import FileUploadCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.facts.seen import INVENTORY, HostSurvey, inventory_command
from roles.operations.application import BUILD_CONSTRAINTS, Environment
from roles.operations.files import Commands, or_remove, replace
from roles.operations.sources import checkout_command
from roles.paths import MIRRORS_ENV, Paths


@operation()
def environment(wanted: Environment, paths: Paths, seen: HostSurvey) -> Commands:
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
    lock, constraints = build / "requirements.lock", build / "build-constraints.txt"
    uv = _uv(paths)
    new, python = shlex.quote(str(build)), shlex.quote(str(build / "bin/python"))
    # Whatever killed builds left goes, those of other environments too: they are gigabytes. When the controller
    # dies, its last command runs on here: the lock waits for it, so that it can't write into the new build.
    yield f"flock {_lock(paths)} sh -c " + shlex.quote(f"rm -rf {shlex.quote(str(paths.envs))}/.*.building")
    yield f"{uv} venv --quiet --relocatable --python {wanted.python} {new}"
    yield FileUploadCommand(StringIO(wanted.lock), str(lock))
    yield FileUploadCommand(StringIO(BUILD_CONSTRAINTS), str(constraints))
    strict = f"--require-hashes --build-constraints {shlex.quote(str(constraints))}"
    sync = f"{uv} pip sync --quiet {strict} {_torch_index(wanted.lock)}--python {python} {shlex.quote(str(lock))}"
    yield or_remove(sync, build)
    for name, source in wanted.packages.items():
        tree = build / "src" / name
        yield or_remove(checkout_command(source, tree, paths), build)
        # Isolation would pull the newest setuptools, without the pkg_resources that old setup.py files need.
        install = f"{uv} pip install --quiet --offline --no-deps --no-build-isolation --python {python}"
        yield or_remove(f"{install} {shlex.quote(str(tree))} && rm -rf {shlex.quote(str(tree.parent))}", build)
    yield or_remove(f"{uv} pip check --quiet --python {python}", build)
    yield f"{inventory_command(build)} > {new}/{INVENTORY}"
    yield f"chmod -R go+rX,go-w {new} && {replace(build, final)}"


def _torch_index(lock: str) -> str:
    """Options that make uv look on PyTorch's own index too, if the lock names a build that only it has."""
    build = re.search(r"^torch==[\w.]+\+(\w+)", lock, re.MULTILINE)
    if build is None:
        return ""
    options = f'--index "$SDFLEET_TORCH_INDEX/{build[1]}" --index-strategy unsafe-best-match'
    return f"${{SDFLEET_TORCH_INDEX:+{options}}} "


def _uv(paths: Paths) -> str:
    """uv with its cache, Pythons and mirrors; the first words of a shell command."""
    settings = {
        # Only the distribution's programs: a Python below /root or in somebody's conda is no use to services.
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "UV_CACHE_DIR": paths.uv_cache,
        "UV_PYTHON_INSTALL_DIR": paths.pythons,
        "UV_PYTHON_PREFERENCE": "system",
        "UV_NO_CONFIG": "1",
    }
    words = " ".join(f"{key}={shlex.quote(str(value))}" for key, value in settings.items())
    run = f"flock {_lock(paths)} env {words} {shlex.quote(str(paths.uv))}"
    return f"umask 022; set -a; . {MIRRORS_ENV}; set +a; {run}"


def _lock(paths: Paths) -> str:
    return shlex.quote(str(paths.envs / ".lock"))
