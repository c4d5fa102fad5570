"""Make a git work tree at one commit, submodules included, over a store of bare repositories.

A commit is fetched once, shallow, into the store's repository of its URL; work trees are made from there without
the network. The commit id is the proof: git checks the content against it, wherever it came from. The tree gets
its final name when it is whole.
"""

import argparse
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urljoin

from roles.onhost import files
from roles.onhost.lock_file import open_lock

SETTINGS = {
    # Nothing that a repository, or whoever wrote a configuration for it, says is ever run.
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "http.lowSpeedLimit": "1000",  # less than 1000 B/s ...
    "http.lowSpeedTime": "30",  # ... for 30 s counts as dead
    "fetch.fsckObjects": "false",  # old histories fail its style checks; the hashes are checked all the same
}
DISK = re.compile(r"No space left on device|Disk quota exceeded|Read-only file system|Input/output error")
REMOTE_SAID = re.compile(r"remote: ")
PROTOCOLS = "https:http:ssh:git:file"
"""What git may speak (its own words for it); `ext`, which runs commands, is not among them."""
REMOTE = ("https://", "http://", "ssh://", "git://")
"""Schemes of what a repository may name as a submodule."""
LOCAL = ("file://", "/")
"""Where a submodule may lie if the repository itself came from such a place."""
PAUSES = (2, 8)
"""Seconds to wait before the second and the third attempt."""


class CheckoutError(Exception):
    """The commit cannot be had; the text is for a person."""


def git(*args: str, cwd: Path) -> str:
    """Run git, never asking anything; its standard output. CheckoutError with its last words if it fails."""
    settings = {"GIT_CONFIG_COUNT": str(len(SETTINGS))}
    for index, (key, value) in enumerate(SETTINGS.items()):
        settings[f"GIT_CONFIG_KEY_{index}"] = key
        settings[f"GIT_CONFIG_VALUE_{index}"] = value
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings["GIT_ALLOW_PROTOCOL"] = PROTOCOLS
    environment = {**inherited, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C", **settings}
    done = subprocess.run(["git", *args], cwd=str(cwd), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        # git says first what stopped it (a full disk, what the server said), and then how each of its programs ended.
        full, remote = ([line for line in lines if match(line)] for match in (DISK.search, REMOTE_SAID.match))
        said = full[-1:] or list(dict.fromkeys([*remote[:1], *lines[-1:]]))
        raise CheckoutError("; ".join(line.strip() for line in said) or f"git ended with {done.returncode}")
    return done.stdout


def stored(store: Path, url: str, commit: str) -> Path:
    """The store's repository of `url`, holding `commit`; fetched if it isn't there yet."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", url.split("://")[-1]).strip("-")[-60:]
    bare = store / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}.git"
    if not bare.exists():
        fresh = store / f".{bare.name}.{os.getpid()}"
        store.mkdir(parents=True, exist_ok=True)
        git("init", "--quiet", "--template=", "--bare", "--", str(fresh), cwd=store)
        git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=fresh)
        fresh.rename(bare)
    pin = f"refs/pinned/{commit}"
    try:
        git("rev-parse", "--verify", "--quiet", pin, cwd=bare)
    except CheckoutError:
        fetch(bare, url, commit, pin)
    return bare


def fetch(bare: Path, url: str, commit: str, pin: str) -> None:
    """Fetch `commit` alone; where the server gives out tips only, fetch all branches and tags."""
    for pause in (*PAUSES, None):
        try:
            git("fetch", "--quiet", "--no-tags", "--depth=1", "--", url, f"+{commit}:{pin}", cwd=bare)
            return
        except CheckoutError as error:
            if re.search("unadvertised|not our ref|dumb http|does not support shallow", str(error)):
                break
            if pause is None or DISK.search(str(error)):
                raise CheckoutError(failure(bare, url, commit, error)) from error
            time.sleep(pause)
    try:
        git("fetch", "--quiet", "--", url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", cwd=bare)
        git("cat-file", "-e", commit + "^{commit}", cwd=bare)
        git("update-ref", pin, commit, cwd=bare)
    except CheckoutError as error:
        raise CheckoutError(failure(bare, url, commit, error)) from error


def failure(bare: Path, url: str, commit: str, error: CheckoutError) -> str:
    """What could not be had from where, the mirror included."""
    asked = git("ls-remote", "--get-url", "--", url, cwd=bare).strip()
    over = f" over {asked}" if asked != url else ""
    return f"cannot get commit {commit[:12]} of {url}{over}: {error}"


def grow(store: Path, url: str, commit: str, tree: Path) -> None:
    """Make the work tree `tree`, and those of its submodules below it."""
    bare = stored(store, url, commit)
    git("init", "--quiet", "--template=", "--", str(tree), cwd=store)
    git("remote", "add", "--", "origin", url, cwd=tree)
    git("fetch", "--quiet", "--no-tags", "--depth=1", "--", str(bare), f"refs/pinned/{commit}", cwd=tree)
    git("-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", "--detach", commit, cwd=tree)
    found = submodules(tree, url, commit)
    for path, suburl, subcommit in found:
        _refuse_outside(tree, path, url)
        grow(store, suburl, subcommit, tree / path)
    if found:
        git("submodule", "--quiet", "init", cwd=tree)
    if git("rev-parse", "HEAD", cwd=tree).strip() != commit:
        raise CheckoutError(f"{url}: the tree is not at commit {commit}")
    if changes := git("status", "--porcelain", cwd=tree).splitlines():
        raise CheckoutError(f"{url}: the fresh tree differs from its commit ({changes[0]})")


def submodules(tree: Path, url: str, commit: str) -> list[tuple[str, str, str]]:
    """(path, clone URL, commit) of each submodule of a work tree: the commit's own entries, as .gitmodules names them.

    CheckoutError for a URL that no submodule may have.
    """
    entries = [entry.partition("\t") for entry in git("ls-tree", "-r", "-z", commit, cwd=tree).split("\0")]
    linked = {path: head.split()[2] for head, _, path in entries if head.startswith("160000 ")}
    if not linked or git("ls-tree", "-z", commit, "--", ".gitmodules", cwd=tree)[:6] not in ("100644", "100755"):
        return []
    told = git("config", "--blob", f"{commit}:.gitmodules", "-z", "--list", cwd=tree).split("\0")
    values = {key: value for key, _, value in (line.partition("\n") for line in told)}
    found = []
    for key, path in values.items():
        if not re.fullmatch(r"submodule\..*\.path", key, re.DOTALL) or path not in linked:
            continue
        suburl = values.get(f"{key[: -len('path')]}url", "")
        if suburl.startswith(("./", "../")):
            suburl = urljoin(url.rstrip("/") + "/", suburl)
        if not suburl.startswith((*REMOTE, *LOCAL) if url.startswith(LOCAL) else REMOTE):
            raise CheckoutError(f"{url}: its submodule {path!r} is at {suburl!r}, which is no https or ssh URL")
        found.append((path, suburl, linked[path]))
    return found


def _refuse_outside(tree: Path, path: str, url: str) -> None:
    """CheckoutError for a submodule that would not lie in the tree: through .., into .git, or over a link."""
    parts = path.split("/")
    above = [tree.joinpath(*parts[: count + 1]) for count in range(len(parts))]
    odd = any(part in ("", ".", "..") or part.lower().rstrip(". ") == ".git" for part in parts)
    if odd or any(place.is_symlink() for place in above):
        raise CheckoutError(f"{url}: its submodule {path!r} would lie outside of the tree")


def main() -> None:
    """Make one work tree; exit 1 with one sentence on standard error if it can't be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="folder of bare repositories")
    parser.add_argument("--url", required=True, help="clone URL")
    parser.add_argument("--commit", required=True, help="full commit id")
    parser.add_argument("--tag", help="what the commit is called: git describe then names it in the tree")
    parser.add_argument("--tree", type=Path, required=True, help="folder to make; what is there is replaced")
    options = parser.parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    # One at a time: a run whose controller died may still be at it.
    lock = open_lock(options.store / ".lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    growing = options.tree.with_name(f".{options.tree.name}.growing")
    files.remove(growing)
    options.tree.parent.mkdir(parents=True, exist_ok=True)
    try:
        grow(options.store, options.url, options.commit, growing)
        if options.tag:
            git("tag", options.tag, options.commit, cwd=growing)
    except CheckoutError as error:
        sys.exit(str(error))
    files.remove(options.tree)
    growing.rename(options.tree)
