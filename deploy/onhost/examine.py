"""What `sdfleet doctor` reads of one host. Runs there, in any Python from 3.9, with the standard library only."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SAMPLE = 2_000_000
"""Bytes read of a mirror's answer to tell its throughput."""


def main(
    root: str,
    probe: str,
    units: list[str],
    ports: list[int],
    urls: dict[str, str],
    patterns: dict[str, str],
    seconds: float,
) -> dict[str, Any]:
    """Look at the host.

    `probe` is the program that reads GPUs; `urls` are mirrors by name, asked for `seconds` each; of the journal
    since boot only the last line that matches each of `patterns` (name -> expression) comes back.
    """
    place = Path(root)
    while not place.exists():
        place = place.parent
    with ThreadPoolExecutor(8) as pool:
        asked = {name: pool.submit(_ask, url, seconds) for name, url in urls.items()}
        answers = {name: answer.result() for name, answer in asked.items()}
    return {
        "os": _os(),
        "systemd": Path("/run/systemd/system").is_dir(),
        "time": time.time(),
        "disk": {"free_gb": shutil.disk_usage(place).free / 1e9, "total_gb": shutil.disk_usage(place).total / 1e9},
        "memory": _memory(),
        "gpu": _output("sh", "-c", probe).splitlines(),
        "units": {unit: _unit(unit) for unit in units},
        "failed": _failed(),
        "ports": {str(port): _owner(port) for port in ports},
        "mirrors": answers,
        "journal": _journal(patterns),
    }


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def _os() -> dict[str, str]:
    lines = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines())
    facts = {key: value.strip('"') for key, _, value in lines}
    return {"id": facts.get("ID", ""), "release": facts.get("VERSION_ID", ""), "name": facts.get("PRETTY_NAME", "")}


def _memory() -> dict[str, float]:
    """RAM and swap, in GB."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kb = {words[0].rstrip(":"): int(words[1]) for words in lines}
    return {"total_gb": kb["MemTotal"] * 1024 / 1e9, "swap_gb": kb["SwapTotal"] * 1024 / 1e9}


def _unit(unit: str) -> dict[str, str]:
    shown = "LoadState,ActiveState,SubState,NRestarts,Result,UnitFileState"
    lines = _output("systemctl", "show", unit, f"--property={shown}").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _failed() -> dict[str, str]:
    """Units that failed, each with the last line that it wrote."""
    listed = _output("systemctl", "list-units", "--failed", "--plain", "--no-legend").splitlines()
    names = [line.split()[0] for line in listed if line.strip()]
    last = ("journalctl", "--boot", "--lines=1", "--no-pager", "--output=cat")
    return {name: _output(*last, f"_SYSTEMD_UNIT={name}").strip()[:300] for name in names}


def _owner(port: int) -> str:
    """The program that listens on the TCP port; empty if there is none."""
    text = _output("ss", "-Hltnp", f"sport = :{port}")
    names = re.findall(r'\(\("([^"]+)"', text)
    addresses = re.findall(r"^LISTEN\s+\S+\s+\S+\s+(\S+):\d+\s", text, re.M)
    return f"{names[0] if names else 'a program'} on {', '.join(addresses)}" if text.strip() else ""


def _ask(url: str, seconds: float) -> dict[str, Any]:
    """Status, latency (s) and throughput (MB/s) of a GET; status 0 and the reason if there is no answer."""
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            latency = time.monotonic() - began
            size = 0
            while size < SAMPLE and time.monotonic() - began < seconds and (part := answer.read(65536)):
                size += len(part)
            return {"status": answer.status, "latency": latency, "rate": size / 1e6 / (time.monotonic() - began)}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "latency": time.monotonic() - began, "rate": 0.0}
    except (OSError, ValueError) as error:
        return {"status": 0, "reason": str(getattr(error, "reason", error)), "latency": 0.0, "rate": 0.0}


def _journal(patterns: dict[str, str]) -> dict[str, str]:
    compiled = {name: re.compile(pattern) for name, pattern in patterns.items()}
    found: dict[str, str] = {}
    for line in _output("journalctl", "--boot", "--lines=20000", "--no-pager", "--output=short-iso").splitlines():
        for name, pattern in compiled.items():
            if pattern.search(line):
                found[name] = line[:300]
    return found
