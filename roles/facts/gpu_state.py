"""A host's GPUs and driver: the value of the fact `roles.facts.gpu.Gpus`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Source = Literal["none", "nvidia", "distribution", "runfile", "host", "unknown"]
"""Origin of the driver: NVIDIA's repository, the distribution, a .run file, the host of a container."""

NVIDIA = 0x10DE
DISPLAY, PROCESSING, BRIDGE = 0x0300, 0x0302, 0x0680


class _Fact(BaseModel):
    # Not Settings: a program on the host wrote it, not the user.
    model_config = ConfigDict(frozen=True, extra="forbid")


class PciDevice(_Fact):
    """A display or bridge device of /sys/bus/pci."""

    slot: str
    vendor: int
    device: int
    kind: int
    """PCI class without its last byte: 0x0300 display, 0x0302 3D controller, 0x0680 bridge (NVSwitch)."""


class SmiGpu(_Fact):
    """A GPU as nvidia-smi reports it."""

    name: str
    compute: tuple[int, int] | None = None


class HostGpus(_Fact):
    """GPUs and driver of a host, and what an installation depends on."""

    arch: str = "x86_64"
    distribution: str = "debian"
    release: str = "12"
    kernel: str = "6.1.0-28-amd64"
    headers: bool = True
    """Whether the headers of the running kernel are installed."""
    kernel_images: tuple[str, ...] = ()
    """Installed packages that follow the newest kernel, such as linux-image-generic-hwe-22.04."""
    container: str | None = None
    """Name of the container runtime (docker, lxc, podman, wsl ...) if the host is a container."""
    secure_boot: bool = False
    mok_enrolled: bool = False
    """Whether the key that signs DKMS modules is enrolled in the firmware."""
    devices: tuple[PciDevice, ...] = ()
    nouveau: bool = False
    """Whether nouveau is using the card."""
    module: str | None = None
    """Version of the loaded kernel module."""
    module_kind: Literal["open", "proprietary"] | None = None
    module_on_disk: str | None = None
    """Version of the module that the running kernel would load."""
    userspace: str | None = None
    """Version of libcuda and nvidia-smi."""
    source: Source = "none"
    smi_exit: int | None = None
    """Exit code of nvidia-smi; None if there is none."""
    smi_error: str = ""
    smi_gpus: tuple[SmiGpu, ...] = ()
    packages: dict[str, str] = {}
    """Installed driver packages and their versions."""
    held: tuple[str, ...] = ()
    """Those of them that are on hold."""
    dpkg_interrupted: bool = False
    fabric_manager: bool = False
    """Whether nvidia-fabricmanager runs."""
    persistence: bool = False
    free_gb: float = 100.0
    """Free space of the root file system, in GB."""
    ram_gb: float = 64.0
    boot_id: str = ""

    @property
    def nvidia(self) -> tuple[PciDevice, ...]:
        """NVIDIA's GPUs on the bus; data-centre cards are 3D controllers, not VGA."""
        return tuple(d for d in self.devices if d.vendor == NVIDIA and d.kind in (DISPLAY, PROCESSING))

    @property
    def nvswitches(self) -> tuple[PciDevice, ...]:
        """NVSwitches on the bus: their GPUs need the fabric manager."""
        return tuple(d for d in self.devices if d.vendor == NVIDIA and d.kind == BRIDGE)

    @property
    def installed_kind(self) -> Literal["open", "proprietary"] | None:
        """The kind of kernel modules in the packages; another kind may still be loaded."""
        names = [name for name in self.packages if "dkms" in name or "kernel" in name]
        if any("-open" in name for name in names):
            return "open"
        return "proprietary" if any("dkms" in name for name in names) else None

    @property
    def builds_modules(self) -> bool:
        """Whether the packages build modules for each kernel, instead of containing prebuilt ones."""
        return any("dkms" in name for name in self.packages)

    @property
    def driver_works(self) -> bool:
        """Whether the driver works now, with one version in kernel and user space."""
        same = self.module is None or self.userspace is None or self.module == self.userspace
        return self.smi_exit == 0 and bool(self.smi_gpus) and same
