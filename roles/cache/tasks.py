"""Operations of the cache role."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import files, server

from roles.accounts import CACHE
from roles.cache.config import Cache
from roles.cache.rendering import TOKENS, UNIT, nginx_conf, tokens, unit
from roles.cache.servers import configuration
from roles.facts.seen import HostSurvey
from roles.facts.survey import Survey
from roles.managers import SYSTEMD, Manager
from roles.operations.accounts import system_users
from roles.operations.files import Commands, folders, rendered
from roles.operations.packages import install_nginx
from roles.operations.units import write_units
from roles.paths import Folder, Paths

NGINX = "nginx"
PENDING = PurePosixPath("/run/sdfleet-cache.pending")
"""Exists from a change of the service's files until the service uses them: an apply may be interrupted in between."""
RESOLV_CONF = PurePosixPath("/etc/resolv.conf")

RELOAD = f"""\
main=$(@MAIN@)
workers() {{ ps -o pid=,args= --ppid "$main" | sed -n 's/^ *\\([0-9]*\\) nginx: worker process *$/\\1/p'; }}
old=$(workers)
@HANG_UP@
for _ in $(seq 600); do
    new=$(workers)
    [ -n "$new" ] && ! echo "$old" | grep -qxF "$new" && exit 0
    sleep 0.1
done
echo "{UNIT.name} has not taken over its configuration after 60 s; see: sdfleet logs HOST cache" >&2
exit 1"""
"""Reloads, and waits until no worker with the old configuration accepts connections: those that still answer requests
are titled "shutting down". The old ones could refuse requests of the rest of an apply."""


@deploy("Cache")
def install(
    cache: Cache,
    paths: Paths,
    upstreams: Mapping[str, Sequence[str]],
    tokens_to: Collection[str],
    secrets: Mapping[str, str],
    manager: Manager,
) -> None:
    """
    Run nginx as the fleet's caching proxy, in its own unit.

    + cache: the role's settings
    + paths: the host's paths
    + upstreams: kind -> mirrors in order, without the cache itself
    + tokens_to: mirrors that may get a token besides its issuer
    + secrets: tokens by name; used only with `hold_tokens`
    + manager: the host's service manager
    """
    conf, wanted = nginx_conf(paths), wanted_folders(paths)
    service = manager.file(UNIT.name)
    seen = look(conf, wanted, manager)
    texts = {
        conf: configuration(
            cache, upstreams, paths, seen.text(RESOLV_CONF) or "", manager.credentials(UNIT.name), tokens_to
        ),
        service: unit(cache, paths, manager),
        **({TOKENS: tokens(secrets)} if cache.hold_tokens else {}),
    }
    install_nginx([NGINX], seen, manager)
    if manager == SYSTEMD:  # else the base role has made it, with the number that its files have
        system_users(name="Create the cache's user", homes={CACHE: paths.http_cache}, seen=seen)
    folders(name="Make the cache's folders", wanted=wanted, seen=seen)
    if _changed(texts, seen):
        server.shell(name="Mark the cache's files as changed", commands=[f"touch {PENDING}"])
    if cache.hold_tokens:
        rendered(name="Write the tokens", dest=TOKENS, text=texts[TOKENS], seen=seen, mode=0o600)
    else:
        files.file(name="Remove tokens", path=str(TOKENS), present=False)
    rendered(name="Write the cache's configuration", dest=conf, text=texts[conf], seen=seen)
    write_units({service: texts[service]}, seen, manager)
    cache_running(name="Start the cache", texts=texts, seen=seen, manager=manager)


def look(conf: PurePosixPath, wanted: Sequence[Folder], manager: Manager) -> HostSurvey:
    """What the host has of the cache."""
    seen: HostSurvey = host.get_fact(
        Survey,
        paths=[PENDING, *(folder.path for folder in wanted)],
        texts=[conf, manager.file(UNIT.name), TOKENS, RESOLV_CONF],
        packages=[NGINX],
        users=[CACHE],
        units=manager.show([UNIT.name]),
    )
    return seen


def wanted_folders(paths: Paths) -> list[Folder]:
    """Folders of the role, parents first."""
    mine = Folder(paths.http_cache, owner=CACHE, group=CACHE, mode=0o700)
    shared = [paths.root, paths.root / "cache", paths.root / "apps", paths.app("cache")]
    return [*(Folder(path) for path in shared), mine]


@operation()
def cache_running(texts: Mapping[PurePosixPath, str], seen: HostSurvey, manager: Manager) -> Commands:
    """
    Enable the service, and run it with these files.

    + texts: every file it reads
    + seen: a survey that looked at them and at the unit, before they were written
    """
    state = seen.unit(UNIT.name)
    changed = _changed(texts, seen)
    unsure = state.stale or seen.entry(PENDING) is not None
    as_wanted = state.active and not changed and not unsure
    if state.enabled and as_wanted:
        host.noop("the cache runs")
        return
    yield manager.at_boot(UNIT.name)
    if as_wanted:
        return
    if state.active and not changed & {manager.file(UNIT.name), TOKENS} and not unsure:
        # A reload keeps downloads in progress; nginx refuses a configuration that it cannot use.
        # As the service's user: as root, nginx changes the owner of its cache's folders even when it only tests.
        yield f"runuser -u {CACHE} -- /usr/sbin/nginx -t -q -c {min(changed)}"
        reload = RELOAD.replace("@MAIN@", manager.main_process(UNIT.name))
        yield reload.replace("@HANG_UP@", manager.hang_up(UNIT.name))
    else:
        yield manager.restart(UNIT.name)
    yield f"rm -f {PENDING}"


def _changed(texts: Mapping[PurePosixPath, str], seen: HostSurvey) -> set[PurePosixPath]:
    return {path for path, text in texts.items() if seen.text(path) != text}
