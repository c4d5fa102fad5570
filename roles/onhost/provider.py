"""Recognise the provider of a rented container by its marks. Runs on hosts."""

from __future__ import annotations

import os
from pathlib import Path

MARKS = (
    ("AutoDL", ("AutoDLContainerUUID", "AutoDLRegion"), ("/etc/autodl-motd", "/init/bin/customer.cmd.sh")),
    ("RunPod", ("RUNPOD_POD_ID",), ("/etc/rp_environment",)),
    ("vast.ai", ("VAST_CONTAINERLABEL",), ("/etc/vast_boot.d", "/.launch")),
)
"""Name, variables of process 1, files: one of them is enough (`recognised`). sshd passes no variables on to logins."""
STOP = {
    "AutoDL": "shutdown",
    "RunPod": "runpodctl stop pod $RUNPOD_POD_ID",
    "vast.ai": "vastai stop instance $CONTAINER_ID",
}
"""Name -> the command that stops a container from inside, and with it the bill: autodl.com/docs, docs.runpod.io
("Manage Pods") and docs.vast.ai (its FAQ on instances). The last two find their key by themselves."""
AUTO = "auto"
"""The setting that stands for the provider's own command."""
RELEASED_DAYS = {"AutoDL": 15}
"""Name -> days after its stop on which an instance is deleted with its disks (autodl.com/docs)."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which a provider or an image says how many threads fit a container's share of the cores; programs count
all cores of the machine."""


def variables(root: Path = Path("/")) -> dict[str, str]:
    """The environment of process 1, where providers put identifiers and keys; none if it cannot be read."""
    try:
        listed = (root / "proc/1/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    entries = (os.fsdecode(entry).partition("=") for entry in listed)
    return {name: value for name, equals, value in entries if equals}


def threads(root: Path = Path("/")) -> dict[str, str]:
    """Those of THREADS that process 1 has."""
    its = variables(root)
    return {name: its[name] for name in THREADS if its.get(name, "").isdecimal()}


def recognised(names: set[str], files: set[str]) -> str:
    """The provider with one of these variables of process 1, else with one of these files; empty if there is none.

    A variable is the provider's own; a file may come with an image, which runs at another provider's too (RunPod's
    images write /etc/rp_environment at each start).
    """
    by_variable = (name for name, its, _ in MARKS if names.intersection(its))
    by_file = (name for name, _, its in MARKS if files.intersection(its))
    return next(by_variable, "") or next(by_file, "")


DISKS = {"AutoDL": "/root/autodl-tmp", "RunPod": "/workspace", "vast.ai": "/workspace"}
"""Name -> where its containers have their data disk, those that have one."""


def stop_command(setting: str, name: str) -> str:
    """The command that stops a container of the provider `name`, by rental.stop_command; empty if none is known."""
    return STOP.get(name, "") if setting == AUTO else setting


def provider(root: Path = Path("/")) -> str:
    """The provider's name; empty if no mark is known."""
    there = {file for _, _, files in MARKS for file in files if (root / file.lstrip("/")).exists()}
    return recognised(set(variables(root)), there)
