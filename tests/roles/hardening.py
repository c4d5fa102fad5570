"""How much each unit that sdfleet installs may be exposed, by `systemd-analyze security` (0 is best, 10 worst)."""

import re
from collections.abc import Mapping

from tests.typed import Hosts

CPU = {
    "lora-train@.service": 1.8,
    "sdfleet-cache.service": 1.8,
    "sdfleet-comfyui.service": 1.7,
    "sdfleet-confirm.service": 1.8,
    "sdfleet-gateway.service": 1.8,
    "sdfleet-idle-stop.service": 3.1,
    "sdfleet-lora-scripts.service": 1.7,
    "sdfleet-lora-scripts-links.service": 1.4,
    "sdfleet-lora-scripts-tensorboard.service": 1.5,
    "sdfleet-tensorboard.service": 1.5,
    "sdfleet-webui.service": 1.7,
    "the builder of wheels": 1.2,
    "the converter of pickles": 1.2,
}
"""Unit -> bound on a host without a GPU; figures of systemd 252 stand in docs/hardening.md."""
WITH_GPU = 0.3
"""What a GPU's device nodes may add."""


def exposure(told: str) -> float:
    """The figure in what `systemd-analyze security UNIT` prints."""
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert found, told
    return float(found[1])


def on_host(hosts: Hosts, host: str) -> dict[str, float]:
    """Unit -> figure of all services that sdfleet installed on a host; each must have a bound and keep to it."""
    names = hosts.on(host, "ls /etc/systemd/system").split()
    services = [name for name in names if re.fullmatch(r"(sdfleet|lora-train).*[.]service", name)]
    assert services
    found = {}
    for name in services:
        shown = name.replace("@.", "@any.")
        found[name] = exposure(hosts.on(host, f"systemd-analyze security --no-pager {shown}"))
    within_bounds(found, CPU)
    return found


def within_bounds(found: Mapping[str, float], bounds: Mapping[str, float]) -> None:
    """Print the table, and fail if a unit is above its bound or has none."""
    for name, value in sorted(found.items()):
        print(f"  {name:42} {value:.1f}  (at most {bounds.get(name, 0):.1f})")
    assert found.keys() <= bounds.keys(), f"no bound in tests/roles/hardening.py: {found.keys() - bounds.keys()}"
    worse = {name: value for name, value in found.items() if value > bounds.get(name, 0)}
    assert not worse, f"exposed more than allowed: {worse}"
