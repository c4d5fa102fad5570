"""Checks that a service is reachable only, and can change only, what it should."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from testinfra.host import Host


def check_loopback(host: Host, ports: Mapping[int, str]) -> None:
    """AssertionError unless something listens on each port, on loopback alone.

    + ports: and what messages call their services
    """
    listening = [line.split()[3] for line in host.check_output("ss -Hltn").splitlines()]
    for port, name in ports.items():
        places = [place for place in listening if place.endswith(f":{port}")]
        assert places, f"nothing listens on port {port}"
        open_ones = [place for place in places if not place.startswith(("127.", "[::1]", "[::ffff:127."))]
        assert not open_ones, f"{name} listens on {', '.join(open_ones)}, which others can reach"


def check_unwritable(host: Host, user: str, places: Iterable[PurePosixPath]) -> None:
    """AssertionError if a service's user can write to one of the places."""
    for place in places:
        assert host.run("runuser -u %s -- test -w %s", user, str(place)).rc, f"{user} may write to {place}"
