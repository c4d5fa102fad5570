"""Recognise the provider of a rented container by its marks. Runs on hosts."""

from __future__ import annotations

from pathlib import Path

MARKS = (
    ("AutoDL", ("AutoDLContainerUUID", "AutoDLRegion"), ("/etc/autodl-motd", "/init/bin/customer.cmd.sh")),
    ("RunPod", ("RUNPOD_POD_ID",), ("/etc/rp_environment",)),
    ("vast.ai", ("VAST_CONTAINERLABEL",), ("/etc/vast_boot.d", "/.launch")),
)
"""Name, variables of process 1, files: one of them is enough. sshd passes no variables on to logins."""

DISKS = {"AutoDL": "/root/autodl-tmp", "RunPod": "/workspace", "vast.ai": "/workspace"}
"""Name -> where its containers have their data disk, those that have one."""


def provider(root: Path = Path("/")) -> str:
    """The provider's name; empty if no mark is known."""
    try:
        listed = (root / "proc/1/environ").read_bytes().split(b"\0")
    except OSError:
        listed = []
    variables = {entry.partition(b"=")[0].decode(errors="replace") for entry in listed}
    for name, names, files in MARKS:
        if variables.intersection(names) or any((root / file.lstrip("/")).exists() for file in files):
            return name
    return ""
