"""Checks that the roles with services share."""

from pathlib import PurePosixPath

from testinfra.host import Host

from roles.managers import Manager


def check_file(host: Host, path: PurePosixPath, text: str) -> None:
    """AssertionError unless a file has this text."""
    file = host.file(str(path))
    assert file.exists, f"{path} is missing"
    assert file.content_string == text, f"{path} was changed by hand, or differs from fleet.toml"


def check_unit_file(host: Host, unit: PurePosixPath, text: str) -> None:
    """AssertionError unless a unit's file has this text, and nothing beside it overrides it."""
    check_file(host, unit, text)
    assert not host.file(f"{unit}.d").exists, f"{unit}.d holds settings that are not the fleet's"


def unit_state(host: Host, unit: str, manager: Manager) -> dict[str, str]:
    """The properties of a unit (see `supervisor.SHOWN`)."""
    shown = host.check_output(manager.show([unit]))
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def check_runs_as(host: Host, unit: str, user: str, manager: Manager) -> None:
    """AssertionError unless a unit's process belongs to a user."""
    found = host.check_output(f"ps -o user:32= -p $({manager.main_process(unit)})").strip()
    assert found == user, f"{unit} runs as {found}"


def check_unit_runs(host: Host, unit: str, manager: Manager) -> None:
    """AssertionError unless a unit is active, comes back after a reboot, and runs by what is in its file."""
    state = unit_state(host, unit, manager)
    assert state["ActiveState"] == "active", f"{unit} is {state['ActiveState']}"
    assert state["UnitFileState"] == "enabled", f"{unit} is {state['UnitFileState']}: it stays down after a reboot"
    assert state["NeedDaemonReload"] == "no", f"{manager.name} has not read {unit} since it changed"
