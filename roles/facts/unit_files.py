"""A check that the roles with services share."""

from pathlib import PurePosixPath

from testinfra.host import Host


def check_unit_file(host: Host, unit: PurePosixPath, text: str) -> None:
    """AssertionError unless a unit's file has this text, and nothing beside it overrides it."""
    file = host.file(str(unit))
    assert file.exists, f"{unit} is missing"
    assert file.content_string == text, f"{unit} was changed by hand, or differs from fleet.toml"
    assert not host.file(f"{unit}.d").exists, f"{unit}.d holds settings that are not the fleet's"
