"""What must hold on the cache's host."""

from testinfra.host import Host

from roles.accounts import CACHE
from roles.cache.config import KINDS, MODELS, Cache
from roles.cache.rendering import TOKENS, UNIT
from roles.cache.servers import servers
from roles.facts import http_commands
from roles.facts.unit_files import check_runs_as, check_unit_runs
from roles.managers import Manager
from roles.paths import Paths


def test_cache_runs_as_its_own_user(host: Host, manager: Manager) -> None:
    check_unit_runs(host, UNIT.name, manager)
    check_runs_as(host, UNIT.name, CACHE, manager)


def test_what_is_kept_belongs_to_the_cache(host: Host, paths: Paths) -> None:
    strange = host.check_output("find %s ! -user %s -print -quit", str(paths.http_cache), CACHE)
    assert not strange, f"{strange} does not belong to {CACHE}, so the cache cannot write there"


def test_every_port_of_the_cache_listens(host: Host, cache: Cache, direct: object) -> None:
    upstreams = {kind: getattr(direct, kind) for kind in KINDS}
    ports = [server.port for server in servers(cache, upstreams)]
    listening = host.check_output("ss -Hltn").split()
    missing = [port for port in (*ports, cache.port_of(MODELS)) if f"0.0.0.0:{port}" not in listening]
    assert not missing, f"nothing listens on {', '.join(map(str, missing))}"


def test_cache_answers(host: Host, cache: Cache) -> None:
    answer = host.run(http_commands.body(f"http://127.0.0.1:{cache.port_of(MODELS)}/healthz"))
    assert answer.stdout.strip() == "ok", f"the cache gives no answer on port {cache.port_of(MODELS)}"


def test_tokens_belong_to_root_alone(host: Host, cache: Cache) -> None:
    file = host.file(str(TOKENS))
    assert file.exists == cache.hold_tokens, f"{TOKENS} {'exists' if file.exists else 'is missing'}"
    assert not file.exists or file.mode == 0o600, f"{TOKENS} can be read by others"
