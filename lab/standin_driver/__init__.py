"""Programs that stand in for NVIDIA's driver and kernel tools on lab hosts; `lab.gpus` says which cards are there."""

from pathlib import Path

from lab.programs import rendered

LAB = "/var/lib/sdfleet-lab"
"""Folder on a host that stands in for its hardware; the GPU facts look there first."""


def program(name: str, **values: str) -> str:
    """The text of a program, with each @KEY@ replaced."""
    return rendered(Path(__file__).resolve().parent / f"{name}.sh", values)
