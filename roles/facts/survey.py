"""One command for all that a role must know of a host: pyinfra does not cache facts, and each is a round trip."""

import base64
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pyinfra.api.facts import FactBase

from roles.facts.records import listing, records
from roles.facts.seen import INVENTORY, Disk, Entry, HostSurvey, Path, Tree, Unit, as_user, inventory_command, quoted

SMALL = 1_000_000
"""Bytes that are read of a file that a service wrote."""
GIT = (
    "env -i PATH=/usr/bin:/bin GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0"
    " GIT_ALLOW_PROTOCOL=none git -c core.fsmonitor=false -c core.hooksPath=/dev/null"
)
"""git for root, in trees of root's: it refuses those of others, whose configuration could name programs. It gets no
objects from anywhere: what it would run for that is named in the configuration too."""


def own_repository(tree: Path) -> str:
    """The shell condition that no link lies in a work tree's repository, or in one below it: root puts none there.

    An older sdfleet could be led to link files of the WebUI's user there, as further configuration.
    """
    return f"[ -z \"$(find {quoted([tree])} -type l '(' -path '*/.git/*' -o -name .git ')' -print -quit)\" ]"


class Survey(FactBase[HostSurvey]):
    """A HostSurvey of the given paths, texts, packages, users, units, work trees and folders."""

    default = HostSurvey

    def command(
        self,
        paths: Iterable[Path] = (),
        texts: Iterable[Path] = (),
        written_by: Mapping[Path, str] | None = None,
        packages: Sequence[str] = (),
        users: Sequence[str] = (),
        units: str = "",
        trees: Sequence[Path] = (),
        folders: Sequence[Path] = (),
        belonging: Mapping[Path, str] | None = None,
        holding: Mapping[Path, str] | None = None,
        digests: Sequence[Path] = (),
        whole: Sequence[Path] = (),
        disks: Sequence[Path] = (),
    ) -> str:
        """The shell script; it prints one line per finding, with the kind as its first word.

        + paths: paths to stat, without following links
        + texts: small text files to read and stat
        + written_by: small text files in folders of services -> the user who writes them, as whom they are read: a
          service can put a link, a FIFO or an endless file there
        + packages: Debian package names; one that another package provides counts as installed
        + units: the command that shows units: `show` of the host's service manager
        + trees: git work trees, which must be root's
        + folders: folders to list
        + belonging: folder -> user, whose folders in it are listed
        + holding: folder -> name of a file; the folders in it that have such a file are listed
        + digests: files whose sha256 is asked for, at the end of links too
        + whole: folders to compare with their inventory (see `inventory_command`)
        + disks: paths whose file system is asked for: its mount point and free space; they need not exist yet
        """
        script = [". /etc/os-release; echo os $ID $VERSION_CODENAME"]
        script += _ask_files(paths, [str(path) for path in texts], written_by or {})
        script += _ask_system(packages, users, units)
        script += [_ask_tree(tree) for tree in trees]
        script += _ask_folders(folders, belonging or {}, holding or {})
        script += [_ask_digest(file) for file in digests]
        script += [_ask_broken(folder) for folder in whole]
        script += [_ask_disk(place) for place in disks]
        return "{\n" + "\n".join(script) + "\n} 2>/dev/null; true"

    def process(self, output: Iterable[str]) -> HostSurvey:
        found = HostSurvey()
        unit: dict[str, str] = {}
        for line in output:
            kind, _, rest = line.partition("\t")
            match kind:
                case "entries":
                    for path, letter, owner, group, mode, target in records(rest, 6):
                        found.entries[path] = Entry(letter, owner, group, int(mode, 8), target)
                case "text":
                    path, _, encoded = rest.partition("\t")
                    found.texts[path] = base64.b64decode(encoded).decode(errors="replace")
                case "package":
                    found.packages |= _installed(*rest.split("\t"))
                case "user":
                    name, *_, home, _shell = rest.split(":")
                    found.users[name] = home
                case "unit" if rest:  # units are separated by empty lines
                    key, _, value = rest.partition("=")
                    unit[key] = value
                    if len(unit) == 5:
                        found.units[unit["Id"]] = _unit(unit)
                        unit = {}
                case "tree":
                    path, commit, changes = rest.split("\t")
                    found.trees[path] = Tree(commit, changes.strip() != "0")
                case "holding":
                    for folder, inside in records(rest, 2):
                        found.holding.setdefault(folder, []).append(inside.partition("/")[0])
                case "names" | "belonging":
                    listed = found.names if kind == "names" else found.belonging
                    for folder, name in records(rest, 2):
                        listed.setdefault(folder, []).append(name)
                case "digest":
                    path, _, found.digests[path] = rest.partition("\t")
                case "disk":
                    path, _, values = rest.partition("\t")
                    free, mount = values.split(maxsplit=1)
                    found.disks[path] = Disk(mount, int(free))
                case "broken":
                    found.broken.add(rest)
                case _:
                    _read_plain(found, line)
        return found


def _ask_files(paths: Iterable[Path], texts: Sequence[str], written_by: Mapping[Path, str]) -> Iterator[str]:
    if looked := sorted({*map(str, paths), *texts}):
        shown = "%p\\0%y\\0%u\\0%g\\0%m\\0%l\\0"
        yield listing("entries", f"find {quoted(looked)} -maxdepth 0 -printf '{shown}'")
    if texts:
        encode = 'printf "text\\t%s\\t%s\\n" "$f" "$(base64 -w0 "$f")"'
        yield f'for f in {quoted(texts)}; do [ ! -f "$f" ] || {encode}; done'
    for file, user in written_by.items():
        look = '[ -f "$1" ] && [ ! -L "$1" ] && exec head -c ' + str(SMALL) + ' -- "$1"'
        read = f"timeout -k 1 10 {as_user(user)} sh -c {shlex.quote(look)} sh {quoted([file])} </dev/null"
        yield f"t=$({read} | base64 -w0)"
        yield f'[ -z "$t" ] || printf "text\\t%s\\t%s\\n" {quoted([file])} "$t"'


def _ask_system(packages: Sequence[str], users: Sequence[str], units: str) -> Iterator[str]:
    if packages:
        wanted = " ".join(f"-e {shlex.quote(name)}" for name in packages)
        line = "package\\t${db:Status-Abbrev}\\t${Package}\\t${Package}:${Architecture}, ${Provides}\\n"
        yield f"dpkg-query -W -f '{line}' | grep -F {wanted}"
    if users:
        yield f"getent passwd {quoted(users)} | sed 's/^/user\\t/'"
    if units:
        yield f"{units} | sed 's/^/unit\\t/'"


def _ask_tree(tree: Path) -> str:
    git = f"{GIT} -C {shlex.quote(str(tree))}"
    changes = f'"$({git} status --porcelain --untracked-files=no | wc -l)"'
    show = f'printf "tree\\t%s\\t%s\\t%s\\n" {quoted([tree])} "$c" {changes}'
    return f"{own_repository(tree)} && c=$({git} rev-parse HEAD) && {show}"


def _ask_folders(folders: Sequence[Path], belonging: Mapping[Path, str], holding: Mapping[Path, str]) -> Iterator[str]:
    for folder in folders:
        yield listing("names", f"find {quoted([folder])} -mindepth 1 -maxdepth 1 -printf '%h\\0%f\\0'")
    for folder, user in belonging.items():
        mine = f"-mindepth 1 -maxdepth 1 -type d -user {user} ! -name '.*' -printf '%h\\0%f\\0'"
        yield listing("belonging", f"find {quoted([folder])} {mine}")
    for folder, name in holding.items():
        inside = f"-mindepth 2 -maxdepth 2 -type f -name {shlex.quote(name)} -printf '%H\\0%P\\0'"
        yield listing("holding", f"find {quoted([folder])} {inside}")


def _ask_digest(file: Path) -> str:
    show = f'printf "digest\\t%s\\t%s\\n" {quoted([file])} "${{d%% *}}"'
    return f"d=$(sha256sum <{quoted([file])}) && {show}"


def _ask_disk(place: Path) -> str:
    find = f'd={quoted([place])}; until [ -e "$d" ]; do d=$(dirname "$d"); done'
    last = '"$(df --output=avail,target -B1 "$d" | tail -n 1)"'
    return f'{find}; printf "disk\\t%s\\t%s\\n" {quoted([place])} {last}'


def _ask_broken(folder: Path) -> str:
    kept = shlex.quote(f"{folder}/{INVENTORY}")
    same = f'[ ! -e {kept} ] || [ "$({inventory_command(folder)})" = "$(cat {kept})" ]'
    return f"{same} || printf 'broken\\t%s\\n' {quoted([folder])}"


def _read_plain(found: HostSurvey, line: str) -> None:
    word, *values = line.split()
    if word == "os":
        found.os_id, found.codename = (*values, "", "")[:2]


def _installed(status: str, name: str, provides: str) -> set[str]:
    """The names that a package of dpkg answers to, if it is installed."""
    if not status.startswith(("ii", "hi")):
        return set()
    return {name, *(part.split(" ")[0] for part in provides.split(", "))}


def _unit(shown: dict[str, str]) -> Unit:
    return Unit(
        loaded=shown["LoadState"] == "loaded",
        enabled=shown["UnitFileState"] == "enabled",
        active=shown["ActiveState"] == "active",
        stale=shown["NeedDaemonReload"] == "yes",
    )
