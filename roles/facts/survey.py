"""One command for all that a role must know of a host: pyinfra does not cache facts, and each is a round trip."""

import base64
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pyinfra.api.facts import FactBase

from roles.facts.records import listing, records
from roles.facts.seen import INVENTORY, Entry, HostSurvey, Path, Tree, Unit, as_user, inventory_command, quoted

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
        units: Sequence[str] = (),
        trees: Sequence[Path] = (),
        folders: Sequence[Path] = (),
        belonging: Mapping[Path, str] | None = None,
        digests: Sequence[Path] = (),
        whole: Sequence[Path] = (),
        space: Path | None = None,
    ) -> str:
        """The shell script; it prints one line per finding, with the kind as its first word.

        + paths: paths to stat, without following links
        + texts: small text files to read and stat
        + written_by: small text files in folders of services -> the user who writes them, as whom they are read: a
          service can put a link, a FIFO or an endless file there
        + packages: Debian package names; one that another package provides counts as installed
        + units: systemd units
        + trees: git work trees, which must be root's
        + folders: folders to list
        + belonging: folder -> user, whose folders in it are listed
        + digests: files whose sha256 is asked for, at the end of links too
        + whole: folders to compare with their inventory (see `inventory_command`)
        + space: path whose file system's free space is measured; it need not exist yet
        """
        script = [". /etc/os-release; echo os $ID $VERSION_CODENAME"]
        script += _ask_files(paths, [str(path) for path in texts], written_by or {})
        script += _ask_system(packages, users, units)
        script += [_ask_tree(tree) for tree in trees]
        for folder in folders:
            inside = f"find {quoted([folder])} -mindepth 1 -maxdepth 1 -printf '%h\\0%f\\0'"
            script.append(listing("names", inside))
        for folder, user in (belonging or {}).items():
            mine = f"-mindepth 1 -maxdepth 1 -type d -user {user} ! -name '.*' -printf '%h\\0%f\\0'"
            script.append(listing("belonging", f"find {quoted([folder])} {mine}"))
        for file in digests:
            show = f'printf "digest\\t%s\\t%s\\n" {quoted([file])} "${{d%% *}}"'
            script.append(f"d=$(sha256sum <{quoted([file])}) && {show}")
        script += [_ask_broken(folder) for folder in whole]
        if space:
            script.append(f'd={quoted([space])}; until [ -e "$d" ]; do d=$(dirname "$d"); done')
            script.append('echo "free $(df --output=avail -B1 "$d" | tail -n 1)"')
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
                    status, name, provides = rest.split("\t")
                    if status.startswith(("ii", "hi")):
                        found.packages.update({name, *(part.split(" ")[0] for part in provides.split(", "))})
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
                case "names" | "belonging":
                    listed = found.names if kind == "names" else found.belonging
                    for folder, name in records(rest, 2):
                        listed.setdefault(folder, []).append(name)
                case "digest":
                    path, _, found.digests[path] = rest.partition("\t")
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


def _ask_system(packages: Sequence[str], users: Sequence[str], units: Sequence[str]) -> Iterator[str]:
    if packages:
        wanted = " ".join(f"-e {shlex.quote(name)}" for name in packages)
        line = "package\\t${db:Status-Abbrev}\\t${Package}\\t${Package}:${Architecture}, ${Provides}\\n"
        yield f"dpkg-query -W -f '{line}' | grep -F {wanted}"
    if users:
        yield f"getent passwd {quoted(users)} | sed 's/^/user\\t/'"
    if units:
        shown = "Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload"
        yield f"systemctl show --property={shown} -- {quoted(units)} | sed 's/^/unit\\t/'"


def _ask_tree(tree: Path) -> str:
    git = f"{GIT} -C {shlex.quote(str(tree))}"
    changes = f'"$({git} status --porcelain --untracked-files=no | wc -l)"'
    show = f'printf "tree\\t%s\\t%s\\t%s\\n" {quoted([tree])} "$c" {changes}'
    return f"{own_repository(tree)} && c=$({git} rev-parse HEAD) && {show}"


def _ask_broken(folder: Path) -> str:
    kept = shlex.quote(f"{folder}/{INVENTORY}")
    same = f'[ ! -e {kept} ] || [ "$({inventory_command(folder)})" = "$(cat {kept})" ]'
    return f"{same} || printf 'broken\\t%s\\n' {quoted([folder])}"


def _read_plain(found: HostSurvey, line: str) -> None:
    word, *values = line.split()
    if word == "os":
        found.os_id, found.codename = (*values, "", "")[:2]
    elif word == "free" and values:
        found.free_bytes = int(values[0])


def _unit(shown: dict[str, str]) -> Unit:
    return Unit(
        loaded=shown["LoadState"] == "loaded",
        enabled=shown["UnitFileState"] == "enabled",
        active=shown["ActiveState"] == "active",
        stale=shown["NeedDaemonReload"] == "yes",
    )
