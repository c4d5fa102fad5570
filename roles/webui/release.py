"""The contents of a WebUI release, computed from the settings alone."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from roles.operations.application import CODE, Environment, Release, pinned_commit
from roles.operations.locks import Locks
from roles.operations.sources import GIT_TRUST, Source
from roles.webui.config import Webui
from roles.webui.flavors import FLAVORS

LOCKS = Path(__file__).resolve().parent / "locks"
EXTENSIONS = PurePosixPath("extensions")
"""Folder of extensions in a release."""


def release_of(webui: Webui, build: str) -> Release:
    """The release of these settings for a host with torch's `build` (cpu, cu121, ...).

    Raises ReleaseError if the ref is not pinned, or no lock is known for it.
    """
    known = webui.known_commits
    commit = pinned_commit("webui", webui.ref, webui.commit, known)
    trees = {CODE: Source(webui.repository, commit, _tag(webui.ref, commit, known))}
    for name, repository in webui.repositories.items():
        trees[CODE / "repositories" / name] = Source(repository.url, repository.commit)
    for extension in webui.extensions:
        trees[EXTENSIONS / extension.name] = Source(extension.url, extension.commit)
    packages = {name: Source(package.url, package.commit) for name, package in webui.packages.items()}
    label = webui.ref if webui.ref != commit else commit[:10]
    return Release("webui", label, trees, Environment(locks(webui).text(build), webui.python, packages))


def _tag(ref: str, commit: str, known: Mapping[str, str]) -> str:
    """The tag that the WebUI's page and pictures show for this commit; empty if it has none."""
    return ref if ref != commit else next((tag for tag, at in known.items() if at == commit), "")


def locks(webui: Webui) -> Locks:
    """Those of its environment."""
    for_cpu = FLAVORS[webui.flavor].for_cpu
    return Locks("webui", webui.requirements or LOCKS, lock_version(webui), webui.python, for_cpu)


def lock_version(webui: Webui) -> str:
    """Prefix of the names of this WebUI's locks."""
    flavor = FLAVORS[webui.flavor]
    same = {flavor.ref, flavor.commits.get(flavor.ref, flavor.ref)}  # a release and its commit need the same packages
    return flavor.lock if {webui.ref, webui.commit} & same else re.sub(r"[^A-Za-z0-9.]+", "-", webui.ref)


def check_variables(webui: Webui) -> dict[str, str]:
    """Environment variables with which the launcher's preparation finds everything in place and fetches nothing."""
    variables = FLAVORS[webui.flavor].commit_variables
    pins = {variables[n]: r.commit for n, r in webui.repositories.items() if n in variables}
    return {**pins, "PYTHONDONTWRITEBYTECODE": "1", **GIT_TRUST}
