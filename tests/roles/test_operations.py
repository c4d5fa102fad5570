"""Each operation of our own, as pyinfra tests its own: from what is known of a host to the exact commands, and to none
where all is as wanted. operations.json has the commands; what else a command sends is told in them by its sha256."""

import ast
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from roles.base import boot
from roles.base.config import Base
from roles.base.tasks import uv_installed
from roles.cache.rendering import UNIT as CACHE_UNIT
from roles.cache.tasks import cache_running
from roles.facts.gpu_state import HostGpus
from roles.facts.seen import Entry, HostSurvey, Tree, Unit
from roles.facts.survey import Survey
from roles.gateway import certificates
from roles.gateway import tasks as gateway
from roles.gateway.backends import Backend
from roles.gateway.config import Gateway
from roles.gateway.rendering import CERTIFICATE, CURRENT, KEY, certificate_id
from roles.gateway.rendering import UNIT as GATEWAY_UNIT
from roles.gpu import files as gpu_files
from roles.gpu.case import Decision
from roles.gpu.config import Gpu
from roles.gpu.tasks import driver_checked, repository
from roles.managers import SYSTEMD
from roles.models.state import StoreContents
from roles.models.tasks import synced
from roles.models.wanted import Wanted
from roles.operations import environment as environments
from roles.operations import release as releases
from roles.operations.accounts import system_users
from roles.operations.application import CODE, Application, Environment
from roles.operations.environment import environment
from roles.operations.files import folders, rendered
from roles.operations.programs import own_programs
from roles.operations.release import build_release, prune_releases, switch
from roles.operations.sources import Source
from roles.operations.tools import tool_record
from roles.operations.units import started
from roles.paths import GATEWAY, HISTORY, UNITS, Folder, Paths
from tests.roles.declared import declared

TREE = Path(__file__).resolve().parents[2]
COMMANDS = Path(__file__).with_name("operations.json")
PATHS = Paths()
RELEASES = str(PATHS.releases("thing"))
ADDRESS = "203.0.113.1"
FILE = PurePosixPath("/etc/thing.conf")
UP = Unit(loaded=True, enabled=True, active=True, stale=False)
LOCK = "six==1.17.0 --hash=sha256:" + "0" * 64 + "\n"
APP = Application(
    "thing",
    "v1-abc",
    '{"id": "v1-abc"}\n',
    Environment(LOCK, "3.11", {"clip": Source("https://host.example/clip.git", "b" * 40)}),
    keep=2,
    manager=SYSTEMD,
    trees={CODE: Source("https://host.example/o/n.git", "a" * 40, "v1")},
    files={PurePosixPath("bin/start"): "#!/bin/sh\n"},
    finish=["chmod 755 bin/start", "bin/start --check"],
    unit=UNITS / "thing.service",
    unit_text="[Service]\n",
)
HISTORY_OF_IT = json.dumps({"trying": None, "served": [{"release": "v1-abc", "text": "[Service]\n"}]})
BACKEND = Backend("webui", 443, 7860, "/internal/ping")
PLAIN = Gateway()
SERVED_UNIT = f"# Certificate: {certificate_id(PLAIN, ADDRESS)}\n"


def _entry(kind: str = "f", target: str = "", mode: int = 0o644) -> Entry:
    return Entry(kind, "root", "root", mode, target)


def _texts(**texts: str) -> HostSurvey:
    return HostSurvey({path: _entry() for path in texts}, texts)


SERVING = HostSurvey(
    {str(PATHS.current("thing")): _entry("l", "releases/v1-abc")},
    {str(APP.unit): APP.unit_text, str(PATHS.history("thing")): HISTORY_OF_IT},
    units={"thing.service": UP},
)
GATEWAY_SERVES = HostSurvey(
    {str(CURRENT): _entry("l", "releases/c0ffee")},
    {
        str(GATEWAY_UNIT): SERVED_UNIT,
        str(GATEWAY / HISTORY): json.dumps(
            {
                "trying": None,
                "served": [{"release": "c0ffee", "text": SERVED_UNIT}],
            }
        ),
        str(CERTIFICATE): "a certificate",
        str(KEY): "a key",
        str(CURRENT / "nginx.conf"): "events {}\n",
    },
    units={GATEWAY_UNIT.name: UP},
)
GPUS = HostGpus()
BASE = Base()


@dataclass
class Case:
    """An operation on a host that needs it, and on one that has it."""

    declare: Callable[[HostSurvey], object]
    """Declares the operation on a host of which that is known."""
    wanted: HostSurvey
    """What is known of a host on which all is as wanted."""
    before: HostSurvey | None = None
    """What is known of one that needs the operation; a bare one if not given."""


def _pruned(keep: int, **more: Any) -> Callable[[HostSurvey], object]:
    """Prunes the releases of an application that uses v1."""
    home = PATHS.app("thing")
    return lambda seen: prune_releases(name="it", home=home, keep=keep, current="v1", paths=PATHS, seen=seen, **more)


CASES: dict[str, Case] = {
    "rendered": Case(
        lambda seen: rendered(name="it", dest=FILE, text="a = 1\n", seen=seen), _texts(**{str(FILE): "a = 1\n"})
    ),
    "rendered: only its mode": Case(
        lambda seen: rendered(name="it", dest=FILE, text="a = 1\n", seen=seen, mode=0o600),
        HostSurvey({str(FILE): _entry(mode=0o600)}, {str(FILE): "a = 1\n"}),
        _texts(**{str(FILE): "a = 1\n"}),
    ),
    "folders": Case(
        lambda seen: folders(name="it", wanted=[Folder(FILE.parent), Folder(PATHS.root, mode=0o700)], seen=seen),
        HostSurvey({str(FILE.parent): _entry("d", mode=0o755), str(PATHS.root): _entry("d", mode=0o700)}),
    ),
    "own_programs": Case(
        lambda seen: own_programs(name="it", paths=PATHS, seen=seen),
        HostSurvey({str(PATHS.onhost): _entry("l", "onhost-PROGRAMS.pyz")}, digests={str(PATHS.onhost): "PROGRAMS"}),
        HostSurvey({str(PATHS.onhost): _entry("l", "onhost-before.pyz")}, digests={str(PATHS.onhost): "before"}),
    ),
    "system_users": Case(
        lambda seen: system_users(name="it", homes={"a": PATHS.data("a"), "b": PATHS.data("b")}, seen=seen),
        HostSurvey(users={"a": str(PATHS.data("a")), "b": str(PATHS.data("b"))}),
        HostSurvey(users={"b": "/old/data/b"}),
    ),
    "uv_installed": Case(
        lambda seen: uv_installed(name="it", base=BASE, paths=PATHS, seen=seen),
        HostSurvey({str(PATHS.uv): _entry(), str(tool_record("uv", BASE.uv_version, PATHS)): _entry("d")}),
    ),
    "environment": Case(
        lambda seen: environment(name="it", wanted=APP.environment, paths=PATHS, seen=seen, manager=SYSTEMD),
        HostSurvey({str(APP.environment.folder(PATHS)): _entry("d")}),
    ),
    "build_release": Case(
        lambda seen: build_release(name="it", app=APP, whole=str(APP.place(PATHS) / CODE) in seen.trees, paths=PATHS),
        HostSurvey(trees={str(APP.place(PATHS) / CODE): Tree("a" * 40, dirty=False)}),
    ),
    "supervisor_installed": Case(
        lambda seen: boot.supervisor_installed(name="it", paths=PATHS, seen=seen),
        HostSurvey({str(tool_record("supervisor", boot.VERSION, PATHS)): _entry("d")}),
    ),
    "started": Case(
        lambda seen: started(name="it", unit=CACHE_UNIT.name, seen=seen, manager=SYSTEMD),
        HostSurvey(units={CACHE_UNIT.name: UP}),
    ),
    "switch": Case(lambda seen: switch(name="it", app=APP, paths=PATHS, sound=True, seen=seen), SERVING),
    "switch: it serves, but nobody wrote that down": Case(
        lambda seen: switch(name="it", app=APP, paths=PATHS, sound=True, seen=seen),
        SERVING,
        HostSurvey(SERVING.entries, {str(APP.unit): APP.unit_text}, units=SERVING.units),
    ),
    "prune_releases": Case(
        _pruned(2, environments=PATHS.envs),
        HostSurvey(names={RELEASES: ["v0", "v1", "mine"]}, holding={RELEASES: ["v0", "v1"]}),
        HostSurvey(names={RELEASES: ["a", "b", "v1"]}, holding={RELEASES: ["a", "b", "v1"]}),
    ),
    "prune_releases: one too many is left by an apply that switches": Case(
        _pruned(1, environments=PATHS.envs),
        HostSurvey(
            {str(PATHS.current("thing")): Entry("l", "root", "root", 0o777, "releases/v1")},
            names={RELEASES: ["v0", "v1"]},
            holding={RELEASES: ["v0", "v1"]},
        ),
        HostSurvey(
            {str(PATHS.current("thing")): Entry("l", "root", "root", 0o777, "releases/v0")},
            names={RELEASES: ["v0", "v1"]},
            holding={RELEASES: ["v0", "v1"]},
        ),
    ),
    "prune_releases: an interrupted build": Case(
        _pruned(2, environments=PATHS.envs),
        HostSurvey(names={RELEASES: ["v1", ".mine"]}, holding={RELEASES: ["v1"]}),
        HostSurvey(names={RELEASES: ["v1", ".v2.building"]}, holding={RELEASES: ["v1"]}),
    ),
    "prune_releases: with another mark, and no environments": Case(
        _pruned(1, mark="nginx.conf"),
        HostSurvey(names={RELEASES: ["v1", "mine"]}, holding={RELEASES: ["v1"]}),
        HostSurvey(names={RELEASES: ["v0", "v1"]}, holding={RELEASES: ["v0", "v1"]}),
    ),
    "cache_running": Case(
        lambda seen: cache_running(name="it", texts={CACHE_UNIT: "[Service]\n"}, seen=seen, manager=SYSTEMD),
        HostSurvey(texts={str(CACHE_UNIT): "[Service]\n"}, units={CACHE_UNIT.name: UP}),
    ),
    "certificate": Case(
        lambda seen: certificates.certificate(
            name="it", gateway=PLAIN, pair=None, address=ADDRESS, paths=PATHS, seen=seen, manager=SYSTEMD
        ),
        GATEWAY_SERVES,
    ),
    "certificate: given": Case(
        lambda seen: certificates.certificate(
            name="it",
            gateway=PLAIN,
            pair=("a certificate", "a key"),
            address=ADDRESS,
            paths=PATHS,
            seen=seen,
            manager=SYSTEMD,
        ),
        GATEWAY_SERVES,
    ),
    "private_release": Case(
        lambda seen: gateway.private_release(
            name="it", release="c0ffee", files={"nginx.conf": "events {}\n"}, seen=seen
        ),
        GATEWAY_SERVES,
    ),
    "configuration_served": Case(
        lambda seen: gateway.configuration_served(
            name="it",
            release="c0ffee",
            text=SERVED_UNIT,
            paths=PATHS,
            running=bool(seen.units),
            seen=seen,
            manager=SYSTEMD,
        ),
        GATEWAY_SERVES,
    ),
    "announce_addresses": Case(
        lambda seen: certificates.announce_addresses(
            name="it",
            gateway=PLAIN,
            address=ADDRESS,
            backends=[BACKEND],
            unit=SERVED_UNIT,
            seen=seen,
            manager=SYSTEMD,
        ),
        GATEWAY_SERVES,
    ),
    "repository": Case(
        lambda seen: repository(name="it", gpu=Gpu(), facts=GPUS, paths=PATHS, seen=seen),
        _texts(**{str(gpu_files.SOURCES): gpu_files.sources(Gpu(), GPUS), str(gpu_files.KEYRING): ""}),
    ),
    "driver_checked": Case(
        lambda seen: driver_checked(
            name="it", gpu=Gpu(), decision=Decision("keep" if seen.entries else "install", "it works"), places={}
        ),
        _texts(driver=""),
    ),
    "synced": Case(
        lambda seen: synced(
            name="it",
            goal=Wanted((), {PATHS.hub / "refs/main": "abc"}, (), PATHS.webui_models / "Lora"),
            seen=StoreContents(texts={PurePosixPath(path): text for path, text in seen.texts.items()}),
            paths=PATHS,
            request=lambda: "{}",
            after=(),
        ),
        _texts(**{str(PATHS.hub / "refs/main"): "abc"}),
    ),
}


@pytest.fixture(autouse=True)
def _same_every_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the commands hold of the time and of our own programs."""
    monkeypatch.setattr("roles.operations.programs.installed", lambda: b"PROGRAMS")
    monkeypatch.setattr("roles.operations.programs.sha256", lambda: "PROGRAMS")
    monkeypatch.setattr("roles.operations.programs.version", lambda: "onhost-PROGRAMS.pyz")
    monkeypatch.setattr("roles.models.tasks.program", lambda: b"FETCH")
    monkeypatch.setattr(releases, "provenance", lambda: "{}\n")
    monkeypatch.setattr(environments, "build_tools", lambda: "build==1\n")
    monkeypatch.setattr(certificates, "fingerprint", lambda pem: "AB:CD")


def _commands(case: Case, seen: HostSurvey) -> list[str]:
    def declare() -> None:
        case.declare(seen)

    return declared(declare, {Survey: seen})["it"]


@pytest.mark.parametrize("name", CASES)
def test_what_a_host_lacks_decides_the_commands(name: str) -> None:
    case = CASES[name]
    assert _commands(case, case.before or HostSurvey()) == json.loads(COMMANDS.read_text())[name]


@pytest.mark.parametrize("name", CASES)
def test_where_all_is_as_wanted_nothing_is_done(name: str) -> None:
    assert _commands(CASES[name], CASES[name].wanted) == []


@pytest.mark.parametrize(("overrides", "checked"), [("", True), ("# Overrides: pillow==11.3.0\n", False)])
def test_an_environment_is_checked_unless_its_lock_overrides_what_a_package_asks_for(
    overrides: str, checked: bool
) -> None:
    wanted = replace(APP.environment, lock=f"{overrides}{LOCK}")
    case = Case(
        lambda seen: environment(name="it", wanted=wanted, paths=PATHS, seen=seen, manager=SYSTEMD), HostSurvey()
    )
    commands = _commands(case, HostSurvey())
    assert any("uv pip check" in command for command in commands) == checked


def test_every_operation_has_a_case() -> None:
    ours = {
        node.name
        for file in (TREE / "roles").rglob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and any("operation()" in ast.unparse(d) for d in node.decorator_list)
    }
    assert ours == {name.partition(":")[0] for name in CASES}
