"""The example of CONTRIBUTING.md: what it declares for a host that has nothing yet."""

import re
import textwrap
from pathlib import Path
from typing import Any

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from inventory.model import ROLES
from roles.facts.seen import HostSurvey
from roles.facts.survey import Survey
from roles.managers import SYSTEMD, Manager
from roles.operations.accounts import system_users
from roles.operations.units import run_unit
from roles.paths import UNITS, Paths
from roles.settings import Settings
from tests.roles.declared import declared

PAGE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


class Heartbeat(Settings):
    """The settings that the example speaks of."""


def test_the_example_of_a_role_is_current() -> None:
    [example] = re.findall(r"^ *```python\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    known = {
        **{"Heartbeat": Heartbeat, "HEARTBEAT": "sdheartbeat", "UNIT": UNITS / "sdfleet-heartbeat.service"},
        **{
            "unit_text": lambda heartbeat, paths, manager: "[Service]\n",
            "Paths": Paths,
            "Survey": Survey,
            "deploy": deploy,
        },
        **{"host": host, "system_users": system_users, "run_unit": run_unit, "Manager": Manager, "SYSTEMD": SYSTEMD},
    }
    exec(compile(textwrap.dedent(example), str(PAGE), "exec"), known)
    install: Any = known["install"]
    found = declared(lambda: install(heartbeat=Heartbeat(), paths=Paths(), manager=SYSTEMD), {Survey: HostSurvey()})
    assert list(found) == [
        "Heartbeat | Create the heartbeat's user",
        "Heartbeat | Write sdfleet-heartbeat.service",
        "Heartbeat | Run the heartbeat",
    ]
    assert all(found.values()), found


def test_files_that_it_names_are_there() -> None:
    text = PAGE.read_text()
    named = set(re.findall(r"`((?:roles|tests|deploy|inventory|lab|templates|benchmarks)/[\w/.]+)`", text))
    named = {name for name in named if "heartbeat" not in name and "NAME" not in name}
    assert len(named) > 10
    assert not [name for name in sorted(named) if not (PAGE.parent / name).exists()]


def test_every_role_has_checks_and_its_row_in_the_design() -> None:
    rows = re.findall(r"^\|(\w+)\|", (PAGE.parent / "DESIGN.md").read_text(), re.MULTILINE)
    assert set(ROLES) <= set(rows)
    assert not [role for role in ROLES if not (PAGE.parent / "roles" / role / "verify.py").is_file()]
