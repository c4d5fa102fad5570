"""pytest plugin: gives each role's verify.py its hosts and their settings, and reports the outcomes to the caller.

Each check in roles/ROLE/verify.py runs once for every chosen host with ROLE. Its fixtures are `host` (testinfra) and
every field of HostSettings by name (`webui`, `paths`, `models`, ...).
"""

import json
import re
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.backend.base import CommandResult
from testinfra.backend.ssh import SshBackend
from testinfra.host import Host

from deploy.connection.exchange import short
from deploy.manager_choice import chosen_manager
from deploy.torch import torch_builds
from deploy.verification.protocol import ROLE_FILE, UNREACHABLE, Hosts
from inventory.model import HostSettings
from roles.facts.gpu_probe import parse_probe, probe_command
from roles.facts.provider import asked, told
from roles.managers import INIT_COMMAND, Manager, needed_manager

COMMAND_FAILED = re.compile(
    r"Unexpected (?:exit code \d+ for|output) CommandResult\("
    r".*?exit_status=(?P<status>\d+), command=b?(?P<q>['\"])(?P<command>.*?)(?P=q), "
    r"_stdout=.*_stderr=b?(?P<e>['\"])(?P<stderr>.*)(?P=e)\)"
)
"""What testinfra says of a failed command: of check_output's, and of those that read a file or a folder."""
SETTINGS = pytest.StashKey[dict[str, HostSettings]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sdfleet")
    group.addoption("--settings", type=Path, help="JSON file: settings of each host to check, by name")
    group.addoption("--ssh-configuration", type=Path, help="OpenSSH configuration that knows these hosts")
    group.addoption("--askpass", type=json.loads, default={}, help="JSON: by host, the SUDO_ASKPASS program there")
    group.addoption("--outcomes", type=Path, help="pipe that gets one JSON line per check")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run without hosts: testinfra would test the local machine."""
    if not config.getoption("--settings") or not config.getoption("--ssh-configuration"):
        raise pytest.UsageError("these checks need hosts; run `sdfleet verify` instead")
    config.stash[SETTINGS] = Hosts.validate_json(config.getoption("--settings").read_bytes())
    outcomes = config.getoption("--outcomes")
    if outcomes and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(outcomes))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the check once for each host with the role whose folder it is in."""
    path = metafunc.definition.path
    if path.name != ROLE_FILE:
        raise pytest.UsageError(f"{path}: only a role's {ROLE_FILE} can be run on hosts")
    players = [host for host in metafunc.config.stash[SETTINGS].values() if host.has(path.parent.name)]
    groups = [pytest.param(host.name, id=host.name, marks=pytest.mark.xdist_group(host.name)) for host in players]
    metafunc.parametrize("target", groups, indirect=True, scope="session")


@pytest.fixture(scope="session", autouse=True)
def target(request: pytest.FixtureRequest) -> HostSettings:
    """The settings of the host under test."""
    settings: dict[str, HostSettings] = request.config.stash[SETTINGS]
    return settings[request.param]


@pytest.fixture(scope="session")
def host(target: HostSettings, request: pytest.FixtureRequest) -> Host:
    """testinfra's host: over SSH, or this machine only where fleet.toml says address = "local"."""
    if target.connection.local:
        return testinfra.get_host("local://")
    config = request.config.getoption("--ssh-configuration")
    # controlpersist=0 leaves connection sharing to the configuration, whose sockets are in a private folder.
    backend = _Backend(target.name, ssh_config=str(config), controlpersist=0, sudo=target.connection.sudo)
    backend.askpass = request.config.getoption("--askpass").get(target.name, "")
    found = Host(backend)
    backend.set_host(found)
    return found


class _Backend(SshBackend):  # type: ignore[misc]  # testinfra has no types
    """testinfra's backend, with SUDO_ASKPASS for a sudo that asks for a password."""

    askpass = ""

    def get_sudo_command(self, command: str, sudo_user: str | None) -> str:
        if not self.askpass:
            return str(super().get_sudo_command(command, sudo_user))
        user = f"-u {sudo_user} " if sudo_user else ""
        return str(self.quote(f"SUDO_ASKPASS=%s sudo -A {user}/bin/sh -c %s", self.askpass, command))


@pytest.fixture(scope="session")
def torch(target: HostSettings, host: Host) -> Mapping[str, str]:
    """The torch build that each application of the host should have, by role."""
    return torch_builds(target, parse_probe(host.check_output(probe_command()).splitlines())).builds


@pytest.fixture(scope="session")
def manager(target: HostSettings, host: Host) -> Manager:
    """The service manager of the host."""
    return chosen_manager(target, needed_manager(host.run(INIT_COMMAND).stdout))


@pytest.fixture(scope="session")
def provider(host: Host) -> str:
    """Name of the provider whose container the host is; empty if it is none that is known."""
    return told(host.run(asked()).stdout.splitlines())


def _setting(field: str) -> Callable[[HostSettings], object]:
    @pytest.fixture(scope="session", name=field)
    def setting(target: HostSettings) -> object:
        return getattr(target, field)

    return setting


for _field in HostSettings.model_fields:
    globals()[f"_setting_{_field}"] = _setting(_field)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add host, role, check and outcome to each report; the outcome says if the host could not be reached."""
    report = yield
    if report.when != "call" and not report.failed and not report.skipped:
        return report
    facts: dict[str, Any] = {
        "host": item.callspec.params["target"],
        "role": item.path.parent.name,
        "check": item.originalname,
        "outcome": report.outcome,
        "seconds": round(report.duration, 3),
        "reason": "",
    }
    if call.excinfo is not None:
        error = call.excinfo.value
        facts["reason"] = _first_line(error)
        # testinfra raises this error when ssh itself ends with status 255.
        if isinstance(error, RuntimeError) and error.args and isinstance(error.args[0], CommandResult):
            facts |= {"outcome": UNREACHABLE, "reason": _first_line(error.args[0].stderr or "connection lost")}
    report.user_properties.append(("sdfleet", json.dumps(facts)))
    return report


def _first_line(said: object) -> str:
    """The first line of a failed check: its assertion's message if there is one, else the false comparison."""
    text = (str(said).strip() or type(said).__name__).splitlines()[0].removeprefix("AssertionError: ")
    if found := COMMAND_FAILED.match(text):
        words = found["stderr"].replace("\\n", "\n").strip().splitlines() or ["it printed no error"]
        return f"{short(found['command'])} ended with status {found['status']}: {words[-1]}"
    return text


class Outcomes:
    """Writes one line per finished check; registered in the process that gets the reports of all workers."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the facts that were added to the report, if any."""
        for key, facts in report.user_properties:
            if key == "sdfleet":
                with self.file.open("w", encoding="utf-8") as out:
                    out.write(f"{facts}\n")
