"""System users on a host whose data root was changed."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from roles import accounts
from roles.base.boot import homes
from roles.facts.seen import HostSurvey
from roles.operations.accounts import system_users
from roles.paths import Paths


@pytest.mark.parametrize(("status", "told"), [(0, False), (1, False), (8, True)])
def test_a_data_root_changed_on_a_live_host_is_explained(status: int, told: bool, tmp_path: Path) -> None:
    usermod = tmp_path / "usermod"
    usermod.write_text(f"#!/bin/sh\necho 'usermod: what it says' >&2\nexit {status}\n")
    usermod.chmod(0o755)
    seen = HostSurvey(users={"sdwebui": "/srv/old/data/webui"})
    (command,) = system_users._inner(homes={"sdwebui": PurePosixPath("/srv/new/data/webui")}, seen=seen)
    done = subprocess.run(
        ["/bin/sh", "-c", command], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == status
    last = done.stderr.splitlines()[-1]
    assert ("fleet.data_root was changed on a host in use. Set it back; or stop them there" in last) == told
    assert ("/srv/old/data/webui" in last) == told


def test_hosts_without_systemd_keep_every_user() -> None:
    named = {value for value in vars(accounts).values() if isinstance(value, str) and value.startswith("sd")}
    assert len(named) > 5 and named == homes(Paths()).keys()
