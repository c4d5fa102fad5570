"""Switch faults and read the request log of upstreams in another process."""

from collections.abc import Iterable
from typing import Any

import requests

from lab.upstreams.faults import Fault


class Control:
    """Client of the control port."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def set_faults(self, *faults: Fault) -> None:
        """Replace all faults; none switches them off."""
        body = [fault.model_dump() for fault in faults]
        requests.put(f"{self.url}/faults", json=body, timeout=10).raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        """The log: server, method, target, range, status, sent, authorized, time."""
        entries: list[dict[str, Any]] = requests.get(f"{self.url}/requests", timeout=10).json()
        return entries

    def forget_requests(self) -> None:
        """Empty the log."""
        requests.delete(f"{self.url}/requests", timeout=10).raise_for_status()

    def bytes_sent(self, servers: Iterable[str]) -> int:
        """Bytes of bodies that these servers sent since the log was emptied."""
        names = set(servers)
        return sum(entry["sent"] for entry in self.requests() if entry["server"] in names)
