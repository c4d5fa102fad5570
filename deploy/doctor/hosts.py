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
from roles.said import capital, say

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
        good("reachable", say("as {user}, with root rights", user=host.connection.user)),
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
        known = "; ".join(f"{name} {', '.join(releases)}" for name, releases in SUPPORTED.items())
        says = say("{system} is not tested", system=system["name"] or say("unknown"))
        yield warning("system", says, say("Supported: {systems}.", systems=known))
    if not seen["systemd"]:
        whose = say("a container of {provider}", provider=seen["provider"])
        says = say(
            "no systemd: {whose}; supervisord runs its services",
            whose=whose if seen["provider"] else say("as in most GPU containers"),
        )
        yield good("system", says)
    began, ended = seen["asked"]
    drift = max(began - seen["time"], seen["time"] - ended, 0)
    if drift > CLOCK_SECONDS:
        cure = say("Run there: {command}", command="timedatectl set-ntp true")
        yield bad("clock", say("differs from this machine's by {drift:.0f} s", drift=drift), cure)
    else:
        yield good("clock", "agrees with this machine's")


def _unfinished(facts: HostGpus, seen: Seen) -> Iterator[Finding]:
    if facts.dpkg_interrupted:
        says = "dpkg was interrupted, so apt refuses to work (or an installation is running)"
        yield warning("packages", says, say("Run there: {command}", command="dpkg --configure -a"))
    if seen["reboot"]:
        says = "upgraded packages need a reboot; until then the old kernel and libraries are in use"
        yield warning("reboot", says, "Reboot when nothing is running; sdfleet's services start by themselves.")


def _disk(host: HostSettings, seen: Seen) -> Iterator[Finding]:
    free, root, key = seen["disk"]["free_gb"], host.paths.root, host.place("data_root")
    installed = _installed(seen)
    needed = LITTLE_GB if installed else host.base.min_free_gb
    text = say("{free:.0f} of {total:.0f} GB free for {root}", free=free, total=seen["disk"]["total_gb"], root=root)
    better = "" if seen["systemd"] else better_root(seen["provider"], root, seen["mounts"])
    if seen["systemd"] and is_hidden(root):
        says, cure = hidden(root)
        yield bad("disk", say("{key}: {says}", key=key, says=says), capital(cure))
    if free < needed:
        larger = say("Free space there, or point {key} at a larger disk (mounted below /srv or /mnt).", key=key)
        moved = say('Free space there, or set {key} = "{root}".', key=key, root=better)
        says = say("{free}, {needed:g} GB are needed", free=text, needed=needed)
        yield (warning if installed else bad)("disk", says, moved if better else larger)
    elif better:
        says, cure = on_system_disk(seen["provider"], root, better)
        cure = say("{cure} ({key}).", cure=capital(cure), key=key)
        if installed:
            cure = say("{cure} First end what runs there, and move what you want to keep.", cure=cure)
        yield warning("disk", say("{free}; {says}", free=text, says=says), cure)
    else:
        yield good("disk", text)


def _resources(host: HostSettings, seen: Seen) -> Iterator[Finding]:
    yield from _disk(host, seen)
    memory = seen["memory"]
    if host.has("webui") and memory["total_gb"] + memory["swap_gb"] < WEBUI_RAM_GB:
        there = {"memory": memory["total_gb"], "swap": memory["swap_gb"]}
        says = say("{memory:.1f} GB and {swap:.1f} GB of swap; the WebUI takes up to 9.3 GB", **there)
        yield warning("memory", says, "Add swap, or rent more memory.")
    else:
        yield good("memory", f"{memory['total_gb']:.1f} GB")


def _failed_units(host: HostSettings, seen: Seen) -> Iterator[Finding]:
    if not seen["systemd"]:
        return
    others = {unit: last for unit, last in seen["failed"].items() if unit not in seen["units"]}
    for unit, last in others.items():
        says = say("{unit} failed", unit=unit)
        cure = say("See why with `journalctl -u {unit}` there; `systemctl reset-failed {unit}` clears it.", unit=unit)
        yield warning("unit", say("{says}; its last line: {line}", says=says, line=last) if last else says, cure)
    if not others:
        yield good("unit", "no other unit has failed" if seen["failed"] else "none has failed")


def _journal(host: HostSettings, decision: Decision, seen: Seen) -> Iterator[Finding]:
    known = {name: line for name, line in seen["journal"].items() if name != NO_GPU or decision.action != "none"}
    states = [seen["units"].get(service.unit, {}).get("ActiveState") for service in services(host) if not service.waits]
    works = _installed(seen) and all(state == "active" for state in states)
    for failure in FAILURES:
        if line := known.get(failure.name):
            says = say("{failure}: {line}", failure=say(failure.name), line=line)
            yield (warning if works else bad)("journal", says, failure.cure_for(host.place))
    if line := seen["error"]:
        cure = say("See the lines before it: sdfleet logs {host} SERVICE (or the name of a run).", host=host.name)
        says = say("the last error of sdfleet's services in a day, not a known one: {line}", line=line)
        yield warning("journal", says, cure)
    elif not known and seen["systemd"]:
        yield good("journal", "no known failure since the last boot, no error of sdfleet's services in a day")


def _installed(seen: Seen) -> bool:
    return any(unit.get("LoadState") == "loaded" for unit in seen["units"].values())
