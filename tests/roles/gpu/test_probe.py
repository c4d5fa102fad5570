"""The program that reads a host, run against trees and tools that look like real ones."""

import os
import subprocess
from pathlib import Path

import pytest

from roles.facts.gpu_probe import DRIVER_PACKAGES, PROBE, parse_probe
from roles.facts.gpu_state import HostGpus

OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder)\nGCC version:\n"
)
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n"
NVIDIA = "cudatools <cudatools@nvidia.com>"
DEBIAN = "Debian NVIDIA Maintainers <pkg-nvidia-devel@lists.alioth.debian.org>"


class Machine:
    """A fake tree and fake tools."""

    def __init__(self, folder: Path) -> None:
        self.lab, self.tools = folder / "lab", folder / "bin"
        (self.lab / "sys/bus/pci/devices").mkdir(parents=True)
        self.tools.mkdir()
        self.file("container", "none\n")
        self.file("kernel", "6.1.0-28-amd64\n")
        self.tool("dpkg-query", "")

    def file(self, path: str, text: str) -> None:
        file = self.lab / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def device(self, slot: str, vendor: str, device: str, kind: str) -> None:
        for name, text in (("vendor", vendor), ("device", device), ("class", kind)):
            self.file(f"sys/bus/pci/devices/{slot}/{name}", f"{text}\n")

    def tool(self, name: str, output: str, status: int = 0) -> None:
        file = self.tools / name
        file.write_text(f"#!/bin/sh\ncat <<'END'\n{output}END\nexit {status}\n")
        file.chmod(0o755)

    def read(self) -> HostGpus:
        program = PROBE.replace("LAB=/var/lib/sdfleet-lab", f"LAB={self.lab}")
        environment = {**os.environ, "PATH": f"{self.tools}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", program], env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return parse_probe(done.stdout.splitlines())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_data_centre_cards_and_nvswitches_are_seen_and_sound_is_not(machine: Machine) -> None:
    machine.device("0000:00:02.0", "0x1013", "0x00b8", "0x030000")
    machine.device("0000:17:00.0", "0x10de", "0x2330", "0x030200")
    machine.device("0000:05:00.0", "0x10de", "0x22a3", "0x068000")
    machine.device("0000:01:00.1", "0x10de", "0x22ba", "0x040300")
    seen = machine.read()
    assert [device.device for device in seen.nvidia] == [0x2330]
    assert [device.device for device in seen.nvswitches] == [0x22A3]
    assert len(seen.devices) == 3
    assert (seen.source, seen.smi_exit, seen.module, seen.container) == ("none", None, None, None)


def test_nvidias_packages(machine: Machine) -> None:
    machine.device("0000:01:00.0", "0x10de", "0x2684", "0x030000")
    machine.file("proc/driver/nvidia/version", OPEN)
    machine.file("sys/module/nvidia/version", "580.95.05\n")
    machine.tool("modinfo", "580.95.05\n")
    machine.tool("nvidia-smi", "580.95.05, 8.9, NVIDIA GeForce RTX 4090\n")
    machine.tool(
        "dpkg-query",
        f"hi  nvidia-driver-cuda 580.95.05-1 {NVIDIA}\nii  nvidia-kernel-open-dkms 580.95.05-1 {NVIDIA}\n"
        f"rc  libnvidia-compute-550 550.54.15-1 {NVIDIA}\nii  nvidia-container-toolkit 1.17.8-1 {NVIDIA}\n"
        f"ii  libnvidia-container1 1.17.8-1 {NVIDIA}\nii  libnvidia-compute-580 580.95.05-1 {NVIDIA}\n"
        "ii  linux-image-amd64 6.1.1 Debian\nii  linux-image-6.1.0-28-amd64 6.1.1 Debian\n",
    )
    seen = machine.read()
    assert (seen.module, seen.module_kind, seen.module_on_disk, seen.userspace) == (
        "580.95.05",
        "open",
        "580.95.05",
        "580.95.05",
    )
    assert seen.source == "nvidia"
    driver = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "libnvidia-compute-580")
    assert seen.packages == dict.fromkeys(driver, "580.95.05-1")
    assert seen.held == ("nvidia-driver-cuda",)
    assert seen.kernel_images == ("linux-image-amd64",)
    assert [(gpu.name, gpu.compute) for gpu in seen.smi_gpus] == [("NVIDIA GeForce RTX 4090", (8, 9))]
    assert seen.driver_works and not seen.dpkg_interrupted and seen.installed_kind == "open"


def test_the_distributions_packages_and_a_mismatch(machine: Machine) -> None:
    machine.file("proc/driver/nvidia/version", CLOSED)
    machine.tool(
        "nvidia-smi", "Failed to initialize NVML: Driver/library version mismatch\nNVML library: 535.216\n", 18
    )
    machine.tool("dpkg-query", f"iF  nvidia-kernel-dkms 535.216.01-1~deb12u1 {DEBIAN}\n")
    seen = machine.read()
    assert (seen.module, seen.module_kind, seen.source) == ("535.183.01", "proprietary", "distribution")
    assert (seen.smi_exit, seen.driver_works, seen.dpkg_interrupted) == (18, False, True)
    assert seen.smi_error == "Failed to initialize NVML: Driver/library version mismatch"


def test_an_old_nvidia_smi_knows_no_compute_capability(machine: Machine) -> None:
    (machine.tools / "nvidia-smi").write_text(
        "#!/bin/sh\n"
        "case $1 in *compute_cap*) echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2;; esac\n"
        "echo '470.82.01, Tesla V100-SXM2-16GB'\n"
    )
    (machine.tools / "nvidia-smi").chmod(0o755)
    machine.file("container", "docker\n")
    seen = machine.read()
    assert [(gpu.name, gpu.compute) for gpu in seen.smi_gpus] == [("Tesla V100-SXM2-16GB", None)]
    assert (seen.container, seen.source, seen.userspace, seen.smi_exit) == ("docker", "host", "470.82.01", 0)


def test_secure_boot(machine: Machine) -> None:
    variable = machine.lab / "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    variable.parent.mkdir(parents=True)
    variable.write_bytes(bytes([6, 0, 0, 0, 1]))
    assert machine.read().secure_boot
    variable.write_bytes(bytes([6, 0, 0, 0, 0]))
    assert not machine.read().secure_boot


def test_a_pod_of_kubernetes_is_a_container(machine: Machine) -> None:
    (machine.lab / "container").unlink()
    machine.file(
        "proc/1/mountinfo",
        "2213 2201 0:512 / / rw,relatime master:600 - overlay overlay rw,lowerdir=/var/lib/containerd/l/1\n"
        "2219 2213 259:1 /var/lib/kubelet/pods/5f0c/etc-hosts /etc/hosts rw,relatime - ext4 /dev/root rw\n",
    )
    assert machine.read().container == "kubernetes"


def test_nouveau(machine: Machine) -> None:
    (machine.lab / "sys/module/nouveau").mkdir(parents=True)
    assert machine.read().nouveau


def test_program_and_commands_mean_the_same_packages() -> None:
    assert DRIVER_PACKAGES in PROBE


def test_shell_finds_no_fault_with_the_program() -> None:
    subprocess.run(["sh", "-n", "-c", PROBE], check=True)
