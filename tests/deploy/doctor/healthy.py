"""A host on which all is well, as the doctor reads it, and what it says when something is changed."""

from typing import Any

from deploy import units
from deploy.doctor import hosts
from deploy.doctor.mirrors import endpoints
from deploy.doctor.packages import repositories
from deploy.shapes import Finding
from deploy.units import services
from inventory.model import HostSettings

T4 = ["kernel\t6.1.0-28-amd64", "device\t0000:00:1e.0 0x10de 0x1eb8 0x0302", "arch\tx86_64", "distribution\tdebian"]
BARE = [*T4, "release\t12", "headers\ttrue", "free_kb\t50000000"]
RUNNING = [
    *(line for line in BARE),
    "module\t580.95.05",
    "module_kind\topen",
    "module_on_disk\t580.95.05",
    "userspace\t580.95.05",
    "source\tnvidia",
    "smi_exit\t0",
    "smi_gpu\t7.5/Tesla T4",
    "package\tlibcuda1 580.95.05-1",
    "held\tlibcuda1",
]


RUNS = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running"}
LISTENS = {True: "python3 on 127.0.0.1", False: "nginx on 0.0.0.0"}
"""By whether a service is private."""
WELL = {"status": 200, "latency": 0.1, "size": 1_000_000, "rate": 9.0}
DEAD = {"status": 0, "reason": "timed out", "latency": 0.0, "size": 0, "rate": 0.0}
SLOW = {"status": 200, "latency": 0.4, "size": 1_000_000, "rate": 0.02}
DEBIAN = "http://deb.debian.org/debian/dists/bookworm/"
BOARD = units.SERVICES["tensorboard"]


def healthy(host: HostSettings) -> dict[str, Any]:
    """A host on which all is well."""
    return {
        "os": {"id": "debian", "release": "12", "name": "Debian GNU/Linux 12 (bookworm)"},
        "systemd": True,
        "provider": "",
        "time": 1000.5,
        "asked": (1000.0, 1001.0),
        "disk": {"free_gb": 80.0, "total_gb": 100.0},
        "mounts": {str(host.paths.root): "/"},
        "memory": {"total_gb": 32.0, "swap_gb": 0.0},
        "gpu": RUNNING,
        "units": {service.unit: RUNS for service in services(host)},
        "failed": {},
        "ports": {str(port): LISTENS[service.private] for service in services(host) for port in service.ports},
        "proxy": "",
        "proxy_place": "",
        "mirrors": {name: WELL for name in (*(endpoint.name for endpoint in endpoints(host)), *repositories(host))},
        "sources": {DEBIAN: WELL},
        "journal": {},
        "error": "",
        "reboot": False,
    }


def found(host: HostSettings, **changes: Any) -> dict[str, list[Finding]]:
    """Findings by subject, those that are not good only."""
    by_subject: dict[str, list[Finding]] = {}
    for finding in hosts.judge(host, {**healthy(host), **changes}):
        if finding.level != "good":
            by_subject.setdefault(finding.subject, []).append(finding)
    return by_subject


def said(host: HostSettings, **changes: Any) -> dict[str, str]:
    """What is said of each subject, the last finding's."""
    return {finding.subject: finding.says for finding in hosts.judge(host, {**healthy(host), **changes})}
