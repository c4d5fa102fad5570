"""Operations of the mirrors role. It is the first role of a host: packages and tools already come from mirrors."""

import logging
import shlex
from pathlib import PurePosixPath

from pyinfra.api.deploy import deploy
from pyinfra.context import host
from pyinfra.operations import files, server

from roles.facts.answers import Answer, Answers
from roles.facts.seen import HostSurvey
from roles.facts.survey import Survey
from roles.managers import Manager
from roles.mirrors.config import Mirrors
from roles.mirrors.provider import DOMAINS, NO_ROAD, Road, kinds_of, offered, over
from roles.mirrors.provider import FILE as PROVIDERS_FILE
from roles.mirrors.rendering import (
    COMPONENTS,
    OURS,
    apt_proxy,
    apt_sources,
    environment,
    exchange_git_block,
    gitconfig,
    pip_conf,
    uv_toml,
)
from roles.mirrors.selection import choose_mirrors, narrowed, probes, road_probes, unprobed
from roles.operations.files import rendered
from roles.operations.own_settings import own_settings
from roles.paths import ETC, MIRRORS_ENV
from roles.proxy import Proxy
from roles.settings import SettingError

GITCONFIG = PurePosixPath("/etc/gitconfig")
PIP_CONF = PurePosixPath("/etc/pip.conf")
UV_TOML = PurePosixPath("/etc/uv/uv.toml")
APT_PROXY = PurePosixPath("/etc/apt/apt.conf.d/90sdfleet-proxy")
APT_SOURCES = PurePosixPath("/etc/apt/sources.list.d/sdfleet.sources")
DISTRIBUTION_SOURCES = tuple(
    PurePosixPath("/etc/apt") / name
    for name in ("sources.list", "sources.list.d/debian.sources", "sources.list.d/ubuntu.sources")
)
SAVED = ".sdfleet-saved"
"""Suffix of a distribution's own sources file while mirrors replace it; apt does not read such files."""


@deploy("Mirrors")
def install(mirrors: Mirrors, repository: str, proxy: Proxy, manager: Manager) -> None:
    """
    Configure git, Python, apt and Hugging Face to use the first mirrors that answer, and the proxy.

    MIRRORS_ENV then holds the mirrors in use, for the commands of other roles.

    + mirrors: the candidates
    + repository: clone URL that the host will need, and that a GitHub proxy must serve
    + proxy: the host's forward proxy; files with its login are readable by root only
    + manager: the host's service manager
    """
    private = 0o600 if proxy.secret else 0o644
    saved = [path.with_name(path.name + SAVED) for path in DISTRIBUTION_SOURCES]
    texts = (GITCONFIG, PIP_CONF, UV_TOML, APT_PROXY, APT_SOURCES, MIRRORS_ENV, PROVIDERS_FILE)
    seen = host.get_fact(Survey, paths=(ETC, manager.etc, *DISTRIBUTION_SOURCES, *saved), texts=texts)
    road = _road(mirrors, repository, proxy, seen)
    used = _in_use(over(road, mirrors), repository, proxy, seen)

    own_settings(manager, seen)
    rendered(
        name="Write the chosen mirrors",
        dest=MIRRORS_ENV,
        text=environment(used, proxy, road),
        seen=seen,
        mode=private,
    )
    _point_git(used.github_prefix(used.github[0]), road.proxy * road.leads_to("github"), seen)
    _ours_or_nothing("Point pip at the package index", PIP_CONF, pip_conf(used), seen)
    _ours_or_nothing("Point uv at the package index", UV_TOML, uv_toml(used), seen)
    _ours_or_nothing("Set apt's proxy", APT_PROXY, apt_proxy(used.apt_proxy, proxy), seen, private)
    _ours_or_nothing("Point apt at the mirror", APT_SOURCES, _sources(used, seen), seen)
    # files.move keeps a file's name.
    if moves := _set_aside(not used.apt, seen):
        server.shell(name="Rename the distribution's apt sources", commands=moves)


def _road(mirrors: Mirrors, repository: str, proxy: Proxy, seen: HostSurvey) -> Road:
    """The provider's proxy, for what it really leads to; a proxy of the person's own is used for all instead."""
    url, kinds = offered(mirrors, seen), kinds_of(mirrors)
    if not url or not kinds or proxy.url:
        return NO_ROAD
    probed = road_probes(kinds, repository)
    urls = [probe.url for probe in probed.values()]
    over_it = {"config": True, "_stdin": [Proxy(url).curl_config()]}
    answers = host.get_fact(Answers, urls=urls, seconds=mirrors.probe_seconds, **over_it)
    # Without curl it is believed, like the first mirror of each list.
    good = tuple(kind for kind, probe in probed.items() if not answers or probe.good(answers.get(probe.url, Answer(0))))
    if dead := [DOMAINS[kind][0] for kind in kinds if kind not in good]:
        says = f"mirrors.provider_proxy: {url} does not lead to {' and '.join(dead)}; going on without it there"
        host.log(says, logging.getLogger("pyinfra").warning)
    return Road(url, good)


def _in_use(mirrors: Mirrors, repository: str, proxy: Proxy, seen: HostSurvey) -> Mirrors:
    """Probe lists with several mirrors, report skipped ones, and keep the first that answers."""
    asked = probes(mirrors, repository, seen.os_id, seen.codename)
    urls = [probe.url for candidates in asked.values() for probe in candidates.values()]
    if not urls:
        return mirrors
    # Over standard input, as the proxy may have a password.
    asked_over = {"config": True, "_stdin": [proxy.curl_config()]} if proxy.url else {}
    answers = host.get_fact(Answers, urls=urls, seconds=mirrors.probe_seconds, **asked_over)
    warn = logging.getLogger("pyinfra").warning
    if not answers:
        host.log("mirrors: without curl on this host none can be probed yet; using the first of each list", warn)
        return unprobed(mirrors)
    choices = choose_mirrors(mirrors, asked, answers)
    for choice in choices:
        if choice.sentence:
            host.log(choice.sentence, warn)
    return narrowed(mirrors, choices)


def _point_git(prefix: str | None, proxy: str, seen: HostSurvey) -> None:
    """Exchange sdfleet's block in the system's gitconfig; the rest is other people's."""
    name, old = "Point git at the GitHub mirror", seen.text(GITCONFIG) or ""
    git = gitconfig(old, prefix, proxy)
    if "\ufffd" not in old:
        if git or seen.entry(GITCONFIG):
            rendered(name=name, dest=GITCONFIG, text=git, seen=seen)
    elif git != old:  # names in GBK, for example: only the host itself has all bytes
        had_block = gitconfig(old, None) != old
        server.shell(name=name, commands=[exchange_git_block(GITCONFIG, had_block, gitconfig("", prefix, proxy))])


def _sources(used: Mirrors, seen: HostSurvey) -> str | None:
    if not used.apt:
        return None
    if seen.os_id not in COMPONENTS:
        raise SettingError(
            "mirrors.apt",
            f"this host has {seen.os_id or 'an unknown distribution'}, apt mirrors are known for "
            f"{' and '.join(COMPONENTS)}; set it to [] for this host",
        )
    return apt_sources(used.apt[0], seen.os_id, seen.codename)


def _ours_or_nothing(name: str, dest: PurePosixPath, text: str | None, seen: HostSurvey, mode: int = 0o644) -> None:
    """Write `text`, or remove an earlier file of sdfleet's; files of others are not changed."""
    old = seen.text(dest)
    if old is not None and OURS[2:] not in old:
        if text is not None:
            host.log(f"{dest} is not sdfleet's and stays as it is; sdfleet's own commands use {MIRRORS_ENV}")
        return
    if text is not None:
        rendered(name=name, dest=dest, text=text, seen=seen, mode=mode)
    elif old is not None:
        files.file(name=name, path=str(dest), present=False)


def _set_aside(enabled: bool, seen: HostSurvey) -> list[str]:
    """Commands that rename the distribution's own apt sources so that apt reads them or not, if needed.

    + enabled: whether apt should read them
    + seen: a survey that looked at them under both names
    """
    moves = []
    for path in DISTRIBUTION_SOURCES:
        saved = path.with_name(path.name + SAVED)
        here, there = (saved, path) if enabled else (path, saved)
        if seen.entry(here) and not (enabled and seen.entry(there)):
            moves.append(f"mv -f {shlex.quote(str(here))} {shlex.quote(str(there))}")
    return moves
