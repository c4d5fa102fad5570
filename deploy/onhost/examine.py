"""Read what `sdfleet doctor` needs of one host. Runs there; see the package's docstring."""

from __future__ import annotations

import http.client
import os
import platform
import re
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deploy.onhost.machine import disk, mount_of, os_release
from roles.onhost import init, services
from roles.onhost.provider import DISKS, provider

SAMPLE = 2_000_000
"""Bytes of a mirror's answer that are read to measure throughput."""
ERROR = r"\b\w*(Error|Exception): |\b(CRITICAL|FATAL)\b"
"""Error lines of Python and other programs."""
UNIT = ("LoadState", "ActiveState", "SubState", "NRestarts", "Result", "UnitFileState")
"""What is asked of each service."""
LOG_SECONDS = 60
"""How long the last line of a failed unit may take to read."""
APT_HELPER = "/usr/lib/apt/apt-helper"


def main(
    root: str,
    probe: str,
    units: list[str],
    ports: list[int],
    urls: dict[str, str],
    packages: dict[str, dict[str, Any]],
    apt_proxy: str | None,
    patterns: dict[str, str],
    seconds: float,
    proxy: dict[str, str],
    proxy_place: list[Any] | None,
) -> dict[str, Any]:
    """Look at the host.

    + probe: shell program that reads the GPUs
    + urls: mirrors by name
    + packages: repositories for apt by name: {"urls": URL by system ("debian 12 x86_64"), "needs": text that the probe
      must print}; those in apt's own sources are asked too
    + apt_proxy: replaces apt's own proxy
    + patterns: name -> regular expression; returns the last line of the journal since boot that matches each, and the
      last error of sdfleet's services that matches none
    + seconds: timeout of each request
    + proxy: environment variables for all other requests; proxy_place: name and port of that proxy
    """
    os.environ.update(proxy)
    system = _os()
    here = f"{system['id']} {system['release']} {platform.machine()}"
    gpu = _output("sh", "-c", probe)
    for_apt = {
        name: repository["urls"][here]
        for name, repository in packages.items()
        if here in repository["urls"] and repository["needs"] in gpu
    }
    mirrors, sources = _asked(urls, for_apt, seconds, apt_proxy)
    return {
        "os": system,
        "systemd": init.is_systemd(),
        "provider": provider(),
        "time": time.time(),
        "disk": disk(Path(root)),
        "mounts": {place: mount_of(Path(place)) for place in (root, *sorted(set(DISKS.values())))},
        "memory": _memory(),
        "gpu": gpu.splitlines(),
        "units": {unit: _unit(unit) for unit in units},
        "failed": _failed(),
        "ports": {str(port): _owner(port) for port in ports},
        "proxy": _deaf(proxy_place, seconds) if proxy_place else "",
        "mirrors": mirrors,
        "sources": {re.sub("//[^/]*@", "//", site): answer for site, answer in sources.items()},
        "journal": _journal(patterns),
        "error": _unknown_error(patterns),
        "reboot": Path("/run/reboot-required").exists(),
    }


def _asked(
    urls: dict[str, str], for_apt: dict[str, str], seconds: float, apt_proxy: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers of mirrors by name, and of apt's own sources by address, all asked at the same time."""
    with ThreadPoolExecutor(16) as pool:
        asked = {name: pool.submit(_ask, url, seconds) for name, url in urls.items()}
        asked |= {name: pool.submit(_ask_apt, [url], seconds, apt_proxy) for name, url in for_apt.items()}
        sources = {
            site: pool.submit(_ask_apt, [f"{site}InRelease", f"{site}Release"], seconds, apt_proxy)
            for site in _apt_sources()
        }
        return (
            {name: answer.result() for name, answer in asked.items()},
            {site: answer.result() for site, answer in sources.items()},
        )


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def _os() -> dict[str, str]:
    facts = os_release()
    return {"id": facts.get("ID", ""), "release": facts.get("VERSION_ID", ""), "name": facts.get("PRETTY_NAME", "")}


def _memory() -> dict[str, float]:
    """RAM and swap, in GB."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kb = {words[0].rstrip(":"): int(words[1]) for words in lines}
    return {"total_gb": kb["MemTotal"] * 1024 / 1e9, "swap_gb": kb["SwapTotal"] * 1024 / 1e9}


def _unit(unit: str) -> dict[str, str]:
    try:
        return services.shown(unit, *UNIT)
    except TimeoutError:
        return {}


def _failed() -> dict[str, str]:
    """Failed units, each with its last line in the journal."""
    manager = services.manager()
    return {name: " ".join(manager.lines(name, 1, seconds=LOG_SECONDS)).strip()[:300] for name in manager.failed()}


def _owner(port: int) -> str:
    """The program that listens on the TCP port; empty if there is none."""
    text = _output("ss", "-Hltnp", f"sport = :{port}")
    names = re.findall(r'\(\("([^"]+)"', text)
    addresses = re.findall(r"^LISTEN\s+\S+\s+\S+\s+(\S+):\d+\s", text, re.M)
    return f"{names[0] if names else 'a program'} on {', '.join(addresses)}" if text.strip() else ""


def _deaf(place: list[Any], seconds: float) -> str:
    """Why nothing listens at `place` (name, port); empty if something does."""
    try:
        socket.create_connection((place[0], place[1]), seconds).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _ask(url: str, seconds: float) -> dict[str, Any]:
    """GET `url`: status (0 and the reason if there is no answer), latency (s), bytes read, throughput after the first
    byte (MB/s)."""
    began = time.monotonic()
    try:
        # Some hubs reject the user agent Python-urllib.
        request = urllib.request.Request(url, headers={"User-Agent": "sdfleet-doctor"})
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            latency = time.monotonic() - began
            size = 0
            while size < SAMPLE and time.monotonic() - began < seconds and (part := answer.read(65536)):
                size += len(part)
            rate = size / 1e6 / max(time.monotonic() - began - latency, 1e-3)
            return {"status": answer.status, "latency": latency, "size": size, "rate": rate}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "latency": time.monotonic() - began, "size": 0, "rate": 0.0}
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _silent(str(getattr(error, "reason", error)))


def _silent(reason: str) -> dict[str, Any]:
    return {"status": 0, "reason": reason, "latency": 0.0, "size": 0, "rate": 0.0}


def _apt_sources() -> list[str]:
    """The network addresses in apt's sources, without duplicates."""
    listed = _output("apt-get", "indextargets", "--no-release-info", "--format", "$(BASE_URI)").split()
    return sorted({place for place in listed if place.startswith(("http://", "https://"))})


def _ask_apt(urls: list[str], seconds: float, proxy: str | None) -> dict[str, Any]:
    """The same for the first of `urls` that apt itself can get, with its proxies and passwords. Latency is the whole
    time, because apt does not report the first byte."""
    options = ["Acquire::Retries=0", f"Acquire::http::Timeout={seconds:g}", "APT::Sandbox::User=root"]
    options += [f"Acquire::http::Proxy={proxy}"] if proxy else []
    answer = _silent("apt is not installed")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answer"
        for url in urls:
            command = [APT_HELPER, *(f"-o{option}" for option in options), "download-file", url, str(file)]
            began = time.monotonic()
            try:
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds + 1)
            except FileNotFoundError:
                return answer
            except subprocess.TimeoutExpired:
                return _silent("timed out")
            took = time.monotonic() - began
            if done.returncode == 0:
                size = file.stat().st_size
                return {"status": 200, "latency": took, "size": size, "rate": size / 1e6 / took}
            said = re.search(r"Failed to fetch \S+\s+(.*)", done.stdout.decode(errors="replace"))
            reason = " ".join(said[1].split()) if said else "apt cannot fetch it"
            answer = {**_silent(reason), "status": int(reason[:3]) if re.match(r"\d{3} ", reason) else 0}
            if answer["status"] != 404:
                return answer
    return answer


def _journal(patterns: dict[str, str]) -> dict[str, str]:
    return last_matches(services.manager().host_log(20000), patterns)


def last_matches(lines: list[str], patterns: dict[str, str]) -> dict[str, str]:
    """By name, the last line that matches each pattern; none for a pattern without a match."""
    compiled = {name: re.compile(pattern) for name, pattern in patterns.items()}
    found: dict[str, str] = {}
    for line in lines:
        for name, pattern in compiled.items():
            if pattern.search(line):
                found[name] = line[:300]
    return found


def _unknown_error(patterns: dict[str, str]) -> str:
    known = [re.compile(pattern) for pattern in patterns.values()]
    for line in reversed(services.manager().own_log(5000)):
        if re.search(ERROR, line) and not any(pattern.search(line) for pattern in known):
            return line[:300]
    return ""
