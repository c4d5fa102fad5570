"""Pretended GPUs for lab hosts: a /sys to read, and stand-ins for the kernel's tools that load a driver."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from lab.standin_driver import LAB, program
from roles.gpu.cards import card_by_id

KERNEL = "6.1.0-28-amd64"
TOOLS = ("modinfo", "modprobe", "update-initramfs")
NVSWITCH = 0x22A3

BOOT_UNIT = """\
[Unit]
Description=Stand-in of sdfleet's lab for the kernel's loading of drivers
DefaultDependencies=no
Before=sshd.service ssh.service nvidia-persistenced.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/sdfleet-lab-boot
[Install]
WantedBy=sysinit.target
"""


UNIT = "etc/systemd/system/sdfleet-lab-boot.service"
WANTED = "etc/systemd/system/sysinit.target.wants/sdfleet-lab-boot.service"
PROGRAMS = "usr/local/sbin"
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""The EFI variable: four bytes of attributes, then 1 for on."""


def equip(
    root: Path,
    devices: Sequence[int],
    kernel: str = KERNEL,
    nouveau: bool = False,
    container: str = "none",
    secure_boot: bool = False,
) -> None:
    """Give a host, whose root file system is `root`, cards with these PCI device ids.

    `nouveau` loads that driver for them, now and at each boot until it is blocked; `container` is the runtime that the
    host reports; with `secure_boot` its firmware reports that it checks signatures. Earlier cards are removed; an
    installed driver stays, unloaded.
    """
    take_out(root)
    lab = root / LAB.lstrip("/")
    for number, device in enumerate(devices, start=1):
        slot = lab / f"sys/bus/pci/devices/0000:{number:02x}:00.0"
        slot.mkdir(parents=True)
        (slot / "vendor").write_text("0x10de\n")
        (slot / "device").write_text(f"0x{device:04x}\n")
        (slot / "class").write_text("0x068000\n" if device == NVSWITCH else "0x030200\n")
    (lab / "sys/module").mkdir(parents=True)
    (lab / "cards").write_text("".join(_card_line(device) for device in devices if device != NVSWITCH))
    (lab / "container").write_text(f"{container}\n")
    boot_kernel(root, kernel)
    if nouveau:
        (lab / "has-nouveau").touch()
        (lab / "sys/module/nouveau").mkdir()
    if secure_boot:
        (lab / SECURE_BOOT).parent.mkdir(parents=True)
        (lab / SECURE_BOOT).write_bytes(bytes((6, 0, 0, 0, 1)))
    for tool in TOOLS:
        _put(root / PROGRAMS / tool, program(tool))
    _put(root / PROGRAMS / "sdfleet-lab-boot", program("boot"))
    (root / UNIT).write_text(BOOT_UNIT)
    (root / WANTED).parent.mkdir(exist_ok=True)
    (root / WANTED).symlink_to("../sdfleet-lab-boot.service")
    (root / "etc/modprobe.d").mkdir(exist_ok=True)


def take_out(root: Path) -> None:
    """Remove the cards and restore the kernel's own tools."""
    shutil.rmtree(root / LAB.lstrip("/"), ignore_errors=True)
    for file in (WANTED, UNIT, *(f"{PROGRAMS}/{tool}" for tool in (*TOOLS, "sdfleet-lab-boot"))):
        (root / file).unlink(missing_ok=True)


def hand_through(root: Path, version: str, module: str = "open") -> None:
    """Pass a driver into a container as its host would: programs and a loaded module, no package."""
    driver = root / LAB.lstrip("/") / "sys/module/nvidia"
    driver.mkdir(parents=True)
    (driver / "version").write_text(f"{version}\n")
    (driver / "kind").write_text(f"{module}\n")
    _put(root / "usr/bin/nvidia-smi", program("nvidia-smi", VERSION=version))
    library = root / "usr/lib/x86_64-linux-gnu"
    (library / f"libcuda.so.{version}").write_text("stand-in\n")


def boot_kernel(root: Path, kernel: str) -> None:
    """Make the host report `kernel` as its running kernel."""
    (root / LAB.lstrip("/") / "kernel").write_text(f"{kernel}\n")


def _card_line(device: int) -> str:
    card = card_by_id(device)
    if card.generation is None or card.compute is None:
        raise ValueError(f"no card with device id {device:04x}")
    kinds = " ".join(card.generation.modules)
    major, minor = card.compute
    return f"NVIDIA {card.name}|{major}.{minor}|{card.generation.first_branch}|{kinds}\n"


def _put(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)
