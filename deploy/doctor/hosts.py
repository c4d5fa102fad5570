"""Checks of one host, from the answer of one command."""

import time
from collections.abc import Iterator
from typing import Any

from deploy.connection.ssh import Remote
from deploy.doctor.failures import FAILURES, NO_GPU
from deploy.doctor.finding import bad, good, warning
from deploy.doctor.gpus import gpu_findings
from deploy.doctor.mirrors import endpoint_findings, endpoints, proxy_findings
from deploy.doctor.packages import SUPPORTED, package_findings, repositories
from deploy.doctor.services import service_findings
from deploy.onhost import examine
from deploy.shapes import Finding
from deploy.units import services
from inventory.hosts import proxy_of
from inventory.model import HostSettings
from roles.data_root import better_root, hidden, is_hidden, on_system_disk
from roles.facts.gpu_probe import PROBE, parse_probe
from roles.facts.gpu_state import HostGpus
from roles.gpu.case import Decision
from roles.gpu.decision import decide

CLOCK_SECONDS = 30
"""TLS and signed URLs tolerate a few minutes; a host with this much drift has no time service."""
LITTLE_GB = 5
WEBUI_RAM_GB = 9.5
"""The WebUI peaks at 9.3 GB with SD 1.5 and a LoRA."""

Seen = dict[str, Any]


def look(remote: Remote) -> Seen:
    """Read everything of one host with one command; `asked` is the controller's time before and after it (s)."""
    host = remote.host
    proxy = proxy_of(host)
    began = time.time()
    seen: Seen = remote.call(
        examine,
        timeout=180,
        root=str(host.paths.root),
        probe=PROBE,
        units=[service.unit for service in services(host)],
        ports=[port for service in services(host) for port in service.ports],
        urls={endpoint.name: endpoint.url for endpoint in endpoints(host)},
        packages=repositories(host),
        apt_proxy=host.mirrors.apt_proxy,
        patterns={failure.name: failure.pattern for failure in FAILURES},
        seconds=host.mirrors.probe_seconds,
        proxy=proxy.environment(),
        proxy_place=list(proxy.place) if proxy.url else None,
    )
    seen["proxy_place"] = "{}:{}".format(*proxy.place) if proxy.url else ""
    # The host's clock is read some time in between: the mirrors take seconds.
    return {**seen, "asked": (began, time.time())}


def judge(host: HostSettings, seen: Seen) -> list[Finding]:
    """The findings for a host with these settings."""
    facts = parse_probe(seen["gpu"])
    decision = decide(facts, host.gpu, host.places)
    return [
        good("reachable", f"as {host.connection.user}, with root rights"),
        *_system(host, seen),
        *_resources(host, seen),
        *_unfinished(facts, seen),
        *gpu_findings(host, facts, decision),
        *proxy_findings(seen),
        *endpoint_findings(host, seen["mirrors"]),
        *package_findings(host, decision, seen),
        *service_findings(host, seen),
        *_failed_units(host, seen),
        *_journal(host, decision, seen),
    ]


def _system(host: HostSettings, seen: Seen) -> Iterator[Finding]:
    system = seen["os"]
    if system["release"] in SUPPORTED.get(system["id"], ()):
        yield good("system", system["name"])
    else:
        known = "; ".join(f"{name} {' and '.join(releases)}" for name, releases in SUPPORTED.items())
        yield warning("system", f"{system['name'] or 'unknown'} is not tested", f"Supported: {known}.")
    if not seen["systemd"]:
        whose = f"a container of {seen['provider']}" if seen["provider"] else "as in most GPU containers"
        yield good("system", f"no systemd: {whose}; supervisord runs its services")
    began, ended = seen["asked"]
    drift = max(began - seen["time"], seen["time"] - ended, 0)
    if drift > CLOCK_SECONDS:
        yield bad("clock", f"differs from this machine's by {drift:.0f} s", "Run there: timedatectl set-ntp true")
    else:
        yield good("clock", "agrees with this machine's")


def _unfinished(facts: HostGpus, seen: Seen) -> Iterator[Finding]:
    if facts.dpkg_interrupted:
        says = "dpkg was interrupted, so apt refuses to work (or an installation is running)"
        yield warning("packages", says, "Run there: dpkg --configure -a")
    if seen["reboot"]:
        says = "upgraded packages need a reboot; until then the old kernel and libraries are in use"
        yield warning("reboot", says, "Reboot when nothing is running; sdfleet's services start by themselves.")


def _disk(host: HostSettings, seen: Seen) -> Iterator[Finding]:
    free, root, key = seen["disk"]["free_gb"], host.paths.root, host.place("data_root")
    installed = _installed(seen)
    needed = LITTLE_GB if installed else host.base.min_free_gb
    text = f"{free:.0f} of {seen['disk']['total_gb']:.0f} GB free for {root}"
    better = "" if seen["systemd"] else better_root(seen["provider"], root, seen["mounts"])
    if seen["systemd"] and is_hidden(root):
        says, cure = hidden(root)
        yield bad("disk", f"{key}: {says}", f"{cure[0].upper()}{cure[1:]}")
    if free < needed:
        larger = f'set {key} = "{better}"' if better else f"point {key} at a larger disk (mounted below /srv or /mnt)"
        cure = f"Free space there, or {larger}."
        yield (warning if installed else bad)("disk", f"{text}, {needed:g} GB are needed", cure)
    elif better:
        says, cure = on_system_disk(seen["provider"], root, better)
        moved = " First end what runs there, and move what you want to keep." if installed else ""
        yield warning("disk", f"{text}; {says}", f"{cure[0].upper()}{cure[1:]} ({key}).{moved}")
    else:
        yield good("disk", text)


def _resources(host: HostSettings, seen: Seen) -> Iterator[Finding]:
    yield from _disk(host, seen)
    memory = seen["memory"]
    if host.has("webui") and memory["total_gb"] + memory["swap_gb"] < WEBUI_RAM_GB:
        says = f"{memory['total_gb']:.1f} GB and {memory['swap_gb']:.1f} GB of swap; the WebUI takes up to 9.3 GB"
        yield warning("memory", says, "Add swap, or rent more memory.")
    else:
        yield good("memory", f"{memory['total_gb']:.1f} GB")


def _failed_units(host: HostSettings, seen: Seen) -> Iterator[Finding]:
    if not seen["systemd"]:
        return
    others = {unit: last for unit, last in seen["failed"].items() if unit not in seen["units"]}
    for unit, last in others.items():
        says = f"{unit} failed" + (f"; its last line: {last}" if last else "")
        cure = f"See why with `journalctl -u {unit}` there; `systemctl reset-failed {unit}` clears it."
        yield warning("unit", says, cure)
    if not others:
        yield good("unit", "no other unit has failed" if seen["failed"] else "none has failed")


def _journal(host: HostSettings, decision: Decision, seen: Seen) -> Iterator[Finding]:
    known = {name: line for name, line in seen["journal"].items() if name != NO_GPU or decision.action != "none"}
    states = [seen["units"].get(service.unit, {}).get("ActiveState") for service in services(host) if not service.waits]
    works = _installed(seen) and all(state == "active" for state in states)
    for failure in FAILURES:
        if line := known.get(failure.name):
            yield (warning if works else bad)("journal", f"{failure.name}: {line}", failure.cure_for(host.place))
    if line := seen["error"]:
        cure = f"See the lines before it: sdfleet logs {host.name} SERVICE (or the name of a run)."
        yield warning("journal", f"the last error of sdfleet's services in a day, not a known one: {line}", cure)
    elif not known and seen["systemd"]:
        yield good("journal", "no known failure since the last boot, no error of sdfleet's services in a day")


def _installed(seen: Seen) -> bool:
    return any(unit.get("LoadState") == "loaded" for unit in seen["units"].values())
