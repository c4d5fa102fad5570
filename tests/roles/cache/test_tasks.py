"""The cache's service and its files, when an apply is cut off between the two."""

import hashlib

from pyinfra.facts.files import File

from roles.cache.config import Cache
from roles.cache.rendering import UNIT
from roles.cache.servers import configuration
from roles.cache.tasks import PENDING, cache_running, install
from roles.facts.seen import Entry, HostSurvey, Unit
from roles.facts.survey import Survey
from roles.managers import SYSTEMD
from roles.paths import Paths
from tests.roles.declared import declared

TEXTS = {UNIT: "[Service]\n"}
START = "Start the cache"


def _commands(seen: HostSurvey) -> list[str]:
    def declare() -> None:
        cache_running(name=START, texts=TEXTS, seen=seen, manager=SYSTEMD)

    return declared(declare)[START]


def _seen(enabled: bool = True, stale: bool = False) -> HostSurvey:
    unit = Unit(loaded=True, enabled=enabled, active=True, stale=stale)
    return HostSurvey(texts={str(path): text for path, text in TEXTS.items()}, units={UNIT.name: unit})


def test_a_cache_that_has_its_files_is_left_alone() -> None:
    assert _commands(_seen()) == []
    assert _commands(_seen(enabled=False)) == [f"systemctl enable --quiet {UNIT.name}"]


def test_files_that_the_service_may_not_have_are_taken_over_by_the_next_apply() -> None:
    cut_off = _seen()
    cut_off.entries[str(PENDING)] = Entry("f", "root", "root", 0o644)
    for seen in (cut_off, _seen(stale=True)):
        *_, restart, done = _commands(seen)
        assert restart == f"systemctl restart {UNIT.name}" and done == f"rm -f {PENDING}"


def test_the_cache_asks_the_name_servers_of_a_host_without_systemd_resolved() -> None:
    upstreams, resolv_conf = {"pypi": ["https://pypi.org/simple"]}, "nameserver 10.0.0.2\n"
    seen = HostSurvey(texts={"/etc/resolv.conf": resolv_conf}, packages={"nginx"})

    def declare() -> None:
        install(Cache(), Paths(), upstreams, (), {}, SYSTEMD)  # type: ignore[call-arg, arg-type]

    [command] = declared(declare, {Survey: seen, File: None})["Cache | Write the cache's configuration"]
    wanted = configuration(Cache(), upstreams, Paths(), resolv_conf, SYSTEMD.credentials(UNIT.name))
    assert "resolver 10.0.0.2;" in wanted and hashlib.sha256(wanted.encode()).hexdigest() in command
