"""apt on a host whose own first update runs just then, as on every fresh cloud host."""

import shlex

import pytest

from lab import Lab
from lab.network import PACKAGES_URL
from roles.operations.packages import APT, apt

pytestmark = pytest.mark.lab

HOLD = """
import fcntl, time
lock = open("/var/lib/apt/lists/lock", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
time.sleep(4)
"""
UPDATE = f"-o Acquire::http::Proxy={PACKAGES_URL} update"


def test_the_hosts_own_update_is_waited_for(lab: Lab) -> None:
    hold = f"python3 -c {shlex.quote(HOLD)} </dev/null >/dev/null 2>&1 & sleep 1;"
    at_once = lab.ssh("h1", f"{hold} {APT} {UPDATE}")
    assert at_once.returncode == 100 and "Could not get lock" in at_once.stderr, "apt-get waits by itself by now"
    assert lab.ssh("h1", f"wait; {hold} {apt(UPDATE)}").returncode == 0
    assert lab.ssh("h1", f"{apt('install no-such-package')}").returncode == 100
