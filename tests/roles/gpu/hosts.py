"""Hosts as people have them, and what must be decided for each: the cases of the tests and of docs/gpu.md."""

from dataclasses import dataclass, field
from typing import Any

from roles.facts.gpu_state import HostGpus, PciDevice, SmiGpu, Source
from roles.gpu.cards import card_by_id
from roles.gpu.config import Gpu

T4, A10, A100, L4, L40S, H100, H20, B200, B300 = 0x1EB8, 0x2236, 0x20B2, 0x27B8, 0x26B9, 0x2330, 0x2329, 0x2901, 0x3182
GTX750, GTX1080TI, P40, P100, V100, RTX2080TI, GTX1660 = 0x1380, 0x1B06, 0x1B38, 0x15F8, 0x1DB4, 0x1E04, 0x2184
RTX3060, RTX3090, RTX4060L, RTX4090, RTX5060, RTX5090 = 0x2503, 0x2204, 0x28A0, 0x2684, 0x2D05, 0x2B85
K80, GH200, GB10, PRO6000, T4G, NEWER = 0x102D, 0x2342, 0x2E12, 0x2BB5, 0x1EB4, 0x3300
NVSWITCH = PciDevice(slot="0000:c4:00.0", vendor=0x10DE, device=0x22A3, kind=0x0680)
INTEL = PciDevice(slot="0000:00:02.0", vendor=0x8086, device=0x46A6, kind=0x0300)
AMD = PciDevice(slot="0000:03:00.0", vendor=0x1002, device=0x744C, kind=0x0300)
CIRRUS = PciDevice(slot="0000:00:02.0", vendor=0x1013, device=0x00B8, kind=0x0300)

DEBIAN12: dict[str, Any] = {"distribution": "debian", "release": "12", "kernel": "6.1.0-28-amd64"}
DEBIAN13: dict[str, Any] = {"distribution": "debian", "release": "13", "kernel": "6.12.48+deb13-amd64"}
UBUNTU22: dict[str, Any] = {"distribution": "ubuntu", "release": "22.04", "kernel": "5.15.0-122-generic"}
UBUNTU24: dict[str, Any] = {"distribution": "ubuntu", "release": "24.04", "kernel": "6.8.0-45-generic"}


KERNEL = {"open": "nvidia-kernel-open-dkms", "proprietary": "nvidia-kernel-dkms"}


def gpus(*devices: int) -> tuple[PciDevice, ...]:
    """NVIDIA GPUs on the bus; GeForce cards are VGA controllers, the others 3D controllers."""
    names = [card_by_id(device).name for device in devices]
    kinds = [0x0300 if "GeForce" in name else 0x0302 for name in names]
    return tuple(
        PciDevice(slot=f"0000:{bus:02x}:00.0", vendor=0x10DE, device=device, kind=kind)
        for bus, (device, kind) in enumerate(zip(devices, kinds, strict=True), start=1)
    )


def seen(*devices: int) -> tuple[SmiGpu, ...]:
    """What nvidia-smi says of these cards."""
    cards = [card_by_id(device) for device in devices]
    return tuple(SmiGpu(name=f"NVIDIA {card.name}", compute=card.compute) for card in cards)


def running(version: str, source: Source, *devices: int, modules: str = "open", **more: Any) -> dict[str, Any]:
    """Facts of a host whose driver `version` runs."""
    facts: dict[str, Any] = {
        "devices": gpus(*devices),
        "module": version,
        "module_kind": modules,
        "module_on_disk": version,
        "userspace": version,
        "source": source,
        "smi_exit": 0,
        "smi_gpus": seen(*devices),
        "packages": {name: f"{version}-1" for name in ("nvidia-driver-cuda", KERNEL[modules])}
        if source in ("nvidia", "distribution")
        else {},
    }
    return facts | more


@dataclass(frozen=True)
class Host:
    """A host, its settings, and what must come of them."""

    name: str
    facts: dict[str, Any]
    action: str
    driver: str | None = None
    modules: str | None = None
    webui: str | None = None
    """torch+build"""
    trainer: str | None = None
    says: str = ""
    """A part of the reason or the notes."""
    gpu: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> HostGpus:
        """The facts, typed."""
        return HostGpus.model_validate(self.facts)

    @property
    def settings(self) -> Gpu:
        """The settings, typed."""
        return Gpu.model_validate(self.gpu)


PAIR: dict[str, Any] = {"webui": "2.1.2+cu121", "trainer": "2.9.1+cu128"}
PASCAL: dict[str, Any] = {"webui": "2.1.2+cu121", "trainer": "2.7.1+cu126"}
ARM: dict[str, Any] = {"webui": "2.9.1+cu128", "trainer": "2.9.1+cu128"}
BLACKWELL: dict[str, Any] = {"webui": "2.8.0+cu128", "trainer": "2.9.1+cu128"}
CPU: dict[str, Any] = {"webui": "2.1.2+cpu", "trainer": "2.9.1+cpu"}
OPEN: dict[str, Any] = {"driver": "580", "modules": "open"}
PROPRIETARY: dict[str, Any] = {"driver": "580", "modules": "proprietary"}
AWS: dict[str, Any] = {"kernel": "6.8.0-1015-aws", "kernel_images": ("linux-image-aws",)}
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch"
NO_DEVICES = "No devices were found"

BARE_HOSTS = (
    Host("T4, Debian 12", DEBIAN12 | {"devices": gpus(T4)}, "install", **OPEN, **PAIR),
    Host("A10G (AWS g5), Ubuntu 22.04", UBUNTU22 | AWS | {"devices": gpus(0x2237)}, "install", **OPEN, **PAIR),
    Host("L4 (GCP g2), Debian 12", DEBIAN12 | {"devices": gpus(L4)}, "install", **OPEN, **PAIR),
    Host("L40S, Ubuntu 24.04", UBUNTU24 | {"devices": gpus(L40S)}, "install", **OPEN, **PAIR),
    Host("A100 80GB, Debian 13", DEBIAN13 | {"devices": gpus(A100)}, "install", **OPEN, **PAIR),
    Host("H100 SXM, one of a box, Ubuntu 22.04", UBUNTU22 | {"devices": gpus(H100)}, "install", **OPEN, **PAIR),
    Host("B200, one, Ubuntu 24.04", UBUNTU24 | {"devices": gpus(B200)}, "install", **OPEN, **BLACKWELL),
    Host(
        "GH200, arm64, Ubuntu 22.04", UBUNTU22 | {"arch": "aarch64", "devices": gpus(GH200)}, "install", **OPEN, **ARM
    ),
    Host(
        "T4G, arm64 (AWS g5g), Ubuntu 22.04",
        UBUNTU22 | AWS | {"arch": "aarch64", "devices": gpus(T4G)},
        "refuse",
        says="no build of torch for aarch64 has code for T4G",
    ),
    Host("A10, Ubuntu 22.04", UBUNTU22 | {"devices": gpus(A10)}, "install", **OPEN, **PAIR),
    Host("H20 (Alibaba, Tencent), Ubuntu 22.04", UBUNTU22 | {"devices": gpus(H20)}, "install", **OPEN, **PAIR),
    Host("P100 (GCP n1), Debian 12", DEBIAN12 | {"devices": gpus(P100)}, "install", **PROPRIETARY, **PASCAL),
    Host("RTX 2080 Ti, Debian 12", DEBIAN12 | {"devices": gpus(RTX2080TI)}, "install", **OPEN, **PAIR),
    Host(
        "RTX 3060, nouveau has it, Debian 12",
        DEBIAN12 | {"devices": gpus(RTX3060), "nouveau": True},
        "install",
        **OPEN,
        **PAIR,
    ),
    Host(
        "4 x RTX 3090, Ubuntu 22.04",
        UBUNTU22 | {"devices": gpus(*[RTX3090] * 4)},
        "install",
        **OPEN,
        **PAIR,
        says="4 x GeForce RTX 3090",
    ),
    Host("RTX 4090, Ubuntu 24.04", UBUNTU24 | {"devices": gpus(RTX4090)}, "install", **OPEN, **PAIR),
    Host("RTX 5090, Ubuntu 24.04", UBUNTU24 | {"devices": gpus(RTX5090)}, "install", **OPEN, **BLACKWELL),
    Host("RTX 5060, Debian 13", DEBIAN13 | {"devices": gpus(RTX5060)}, "install", **OPEN, **BLACKWELL),
    Host(
        "2 x RTX PRO 6000 Blackwell, Debian 12",
        DEBIAN12 | {"devices": gpus(PRO6000, PRO6000)},
        "install",
        **OPEN,
        **BLACKWELL,
    ),
    Host("GTX 750 Ti (Maxwell), Debian 12", DEBIAN12 | {"devices": gpus(GTX750)}, "install", **PROPRIETARY, **PASCAL),
    Host(
        "GTX 1080 Ti (Pascal), Ubuntu 22.04",
        UBUNTU22 | {"devices": gpus(GTX1080TI)},
        "install",
        **PROPRIETARY,
        **PASCAL,
    ),
    Host("GTX 1660 (Turing), Ubuntu 24.04", UBUNTU24 | {"devices": gpus(GTX1660)}, "install", **OPEN, **PAIR),
    Host("Tesla P40, Debian 12", DEBIAN12 | {"devices": gpus(P40)}, "install", **PROPRIETARY, **PASCAL),
    Host("V100, Ubuntu 22.04", UBUNTU22 | {"devices": gpus(V100)}, "install", **PROPRIETARY, **PAIR),
    Host(
        "GTX 1080 Ti + RTX 3090, Ubuntu 22.04",
        UBUNTU22 | {"devices": gpus(GTX1080TI, RTX3090)},
        "install",
        **PROPRIETARY,
        **PASCAL,
    ),
    Host(
        "RTX 4090 + RTX 5090, Ubuntu 24.04",
        UBUNTU24 | {"devices": gpus(RTX4090, RTX5090)},
        "install",
        **OPEN,
        **BLACKWELL,
    ),
    Host(
        "V100 + RTX 5090, Ubuntu 24.04",
        UBUNTU24 | {"devices": gpus(V100, RTX5090)},
        "refuse",
        says="No kernel module drives",
    ),
    Host(
        "Laptop: Intel + RTX 4060, Ubuntu 24.04",
        UBUNTU24 | {"devices": (INTEL, *gpus(RTX4060L))},
        "install",
        **OPEN,
        **PAIR,
    ),
    Host(
        "HGX: 8 x H100 with NVSwitches, Ubuntu 22.04",
        UBUNTU22 | {"devices": (*gpus(*[H100] * 8), NVSWITCH)},
        "install",
        **OPEN,
        **PAIR,
    ),
    Host("HGX: 8 x B200, Ubuntu 24.04", UBUNTU24 | {"devices": gpus(*[B200] * 8)}, "install", **OPEN, **BLACKWELL),
    Host("8 x B300, Ubuntu 24.04", UBUNTU24 | {"devices": gpus(*[B300] * 8)}, "install", **OPEN, **BLACKWELL),
    Host(
        "GB10 (DGX Spark), Ubuntu 24.04",
        UBUNTU24 | {"arch": "aarch64", "devices": gpus(GB10)},
        "install",
        **OPEN,
        **ARM,
    ),
    Host("Tesla K80, Debian 12", DEBIAN12 | {"devices": gpus(K80)}, "refuse", says="no build of torch has code for"),
    Host(
        "A card newer than sdfleet, Ubuntu 24.04", UBUNTU24 | {"devices": gpus(NEWER)}, "refuse", says="set gpu.driver"
    ),
    Host(
        "Secure Boot on, RTX 4090, Ubuntu 24.04",
        UBUNTU24 | {"devices": gpus(RTX4090), "secure_boot": True},
        "refuse",
        says="mokutil --import /var/lib/shim-signed/mok/MOK.der",
    ),
    Host(
        "Secure Boot on, T4 (a shielded machine), Debian 12",
        DEBIAN12 | {"devices": gpus(T4), "secure_boot": True},
        "refuse",
        says="mokutil --import /var/lib/dkms/mok.pub",
    ),
    Host(
        "Secure Boot on, DKMS key enrolled, RTX 4090",
        UBUNTU24 | {"devices": gpus(RTX4090), "secure_boot": True, "mok_enrolled": True},
        "install",
        **OPEN,
        **PAIR,
    ),
    Host("RTX 3090, Debian 11", DEBIAN12 | {"release": "11", "devices": gpus(RTX3090)}, "refuse", says="debian12"),
    Host(
        "RTX 5090, Ubuntu 26.04",
        {"distribution": "ubuntu", "release": "26.04", "kernel": "7.0.0-14-generic", "devices": gpus(RTX5090)},
        "refuse",
        says="not on ubuntu2604",
    ),
    Host(
        "RTX 3090, Fedora 41",
        {"distribution": "fedora", "release": "41", "devices": gpus(RTX3090)},
        "refuse",
        says="not on fedora41",
    ),
    Host("RTX 4090, 1.2 GB free", UBUNTU22 | {"devices": gpus(RTX4090), "free_gb": 1.2}, "refuse", says="1.2 GB free"),
    Host("No GPU", DEBIAN12 | {"devices": (CIRRUS,)}, "none", **CPU, says="No NVIDIA GPU"),
    Host("AMD card", UBUNTU24 | {"devices": (AMD,)}, "none", **CPU, says="AMD"),
)

DRIVER_THERE = (
    Host(
        "Cloud image: A100, driver 550", UBUNTU22 | running("550.127.05", "nvidia", A100), "keep", "550.127.05", **PAIR
    ),
    Host(
        "Cloud image: T4, driver 535",
        UBUNTU22 | running("535.183.01", "nvidia", T4, modules="proprietary"),
        "keep",
        "535.183.01",
        **PAIR,
    ),
    Host(
        "Debian's own 535, RTX 3060",
        DEBIAN12 | running("535.261.03", "distribution", RTX3060, modules="proprietary"),
        "keep",
        "535.261.03",
        **PAIR,
    ),
    Host(
        "Debian's own 535, RTX 5090",
        DEBIAN12
        | running(
            "535.261.03", "distribution", RTX5090, modules="proprietary", smi_exit=6, smi_gpus=(), smi_error=NO_DEVICES
        ),
        "refuse",
        says="apt-get purge",
    ),
    Host(".run 570, RTX 5090", UBUNTU24 | running("570.86.16", "runfile", RTX5090), "keep", "570.86.16", **BLACKWELL),
    Host(
        ".run 470, RTX 2080 Ti",
        UBUNTU22 | running("470.256.02", "runfile", RTX2080TI, modules="proprietary"),
        "keep",
        "470.256.02",
        webui="2.1.2+cu118",
        says="nvidia-uninstall",
    ),
    Host(
        "NVIDIA's 470, RTX 3090",
        UBUNTU22 | running("470.256.02", "nvidia", RTX3090, modules="proprietary"),
        "upgrade",
        **OPEN,
        **PAIR,
        says="needs driver 525.60.13",
    ),
    Host(
        "NVIDIA's 550, RTX 5090 added",
        UBUNTU24 | running("550.127.05", "nvidia", RTX4090, RTX5090, smi_gpus=seen(RTX4090)),
        "upgrade",
        **OPEN,
        **BLACKWELL,
        says="needs driver 570",
    ),
    Host(
        "580 proprietary under RTX 5090",
        UBUNTU24
        | running("580.95.05", "nvidia", RTX5090, modules="proprietary", smi_exit=6, smi_gpus=(), smi_error=NO_DEVICES),
        "upgrade",
        **OPEN,
        **BLACKWELL,
        says="proprietary",
    ),
    Host(
        "NVIDIA's 590 over GTX 1080 Ti",
        UBUNTU22 | running("590.44.01", "nvidia", GTX1080TI, smi_exit=6, smi_gpus=(), smi_error=NO_DEVICES),
        "upgrade",
        **PROPRIETARY,
        **PASCAL,
        says="580 is the last",
    ),
    Host(
        "NVIDIA's 590, RTX 3090 answers, GTX 1080 Ti does not",
        UBUNTU22 | running("590.44.01", "nvidia", RTX3090, GTX1080TI, smi_gpus=seen(RTX3090)),
        "upgrade",
        **PROPRIETARY,
        **PASCAL,
        says="580 is the last",
    ),
    Host(
        "GH200 image, driver 560, arm64",
        UBUNTU22 | running("560.35.03", "nvidia", GH200, arch="aarch64"),
        "keep",
        "560.35.03",
        **ARM,
    ),
    Host(
        "NVML mismatch after unattended-upgrades",
        UBUNTU22
        | running(
            "580.82.07",
            "nvidia",
            RTX4090,
            userspace="580.95.05",
            module_on_disk="580.95.05",
            smi_exit=18,
            smi_gpus=(),
            smi_error=MISMATCH,
        ),
        "reboot",
        "580.95.05",
        **PAIR,
        says="reboot to load the new driver",
    ),
    Host(
        "Kernel upgraded, no module for it",
        DEBIAN12
        | running(
            "580.95.05",
            "nvidia",
            RTX4090,
            module=None,
            module_kind=None,
            module_on_disk=None,
            headers=False,
            smi_exit=9,
            smi_gpus=(),
        ),
        "repair",
        "580.95.05",
        **PAIR,
        says="DKMS",
    ),
    Host(
        "Kernel upgraded, Ubuntu's prebuilt modules do not fit it",
        UBUNTU22
        | running("535.183.01", "distribution", T4, module=None, module_kind=None, module_on_disk=None, smi_exit=9)
        | {"smi_gpus": (), "packages": {"nvidia-utils-535-server": "535.183.01-0ubuntu0.22.04.1"}},
        "refuse",
        says="linux-modules-nvidia package",
    ),
    Host(
        "Installed, but Secure Boot bars its module, Debian 12",
        DEBIAN12
        | running("580.95.05", "nvidia", RTX4090, module=None, module_kind=None, smi_exit=9, smi_gpus=())
        | {"secure_boot": True},
        "refuse",
        says="enroll the key",
    ),
    Host(
        "Installed, nouveau still has the card",
        DEBIAN12
        | running("580.95.05", "nvidia", RTX4090, module=None, module_kind=None, nouveau=True, smi_exit=9, smi_gpus=()),
        "reboot",
        "580.95.05",
        **PAIR,
        says="nouveau",
    ),
    Host(
        "dpkg interrupted in the driver's installation",
        DEBIAN12
        | running("580.95.05", "nvidia", RTX4090, module=None, module_kind=None, module_on_disk=None, smi_exit=None)
        | {"dpkg_interrupted": True, "smi_gpus": ()},
        "install",
        **OPEN,
        **PAIR,
        says="interrupted",
    ),
    Host(
        "Card hangs (Xid 79)",
        UBUNTU22
        | running(
            "580.95.05", "nvidia", RTX4090, smi_exit=255, smi_gpus=(), smi_error="Unable to determine the device handle"
        ),
        "refuse",
        says="Xid",
    ),
    Host(
        "AutoDL: RTX 4090 of 8, container",
        UBUNTU22 | running("550.90.07", "host", RTX4090, container="docker", devices=gpus(*[RTX4090] * 8)),
        "keep",
        "550.90.07",
        **PAIR,
        says="container",
    ),
    Host(
        "RunPod: RTX 5090, container",
        UBUNTU24 | running("570.195.03", "host", RTX5090, container="docker"),
        "keep",
        "570.195.03",
        **BLACKWELL,
    ),
    Host(
        "vast.ai: V100, old host driver",
        UBUNTU22 | running("470.82.01", "host", V100, container="docker"),
        "keep",
        "470.82.01",
        webui="2.1.2+cu118",
        says="No training here",
    ),
    Host(
        "Container without GPU access",
        UBUNTU22 | {"devices": gpus(RTX4090), "container": "docker"},
        "refuse",
        says="GPU access",
    ),
    Host(
        "WSL 2, RTX 3060",
        UBUNTU22 | running("560.94", "host", RTX3060, container="wsl", devices=()),
        "keep",
        "560.94",
        **PAIR,
    ),
)

SETTINGS = (
    Host(
        'driver = "keep", bare RTX 4090',
        UBUNTU24 | {"devices": gpus(RTX4090)},
        "refuse",
        says='gpu.driver is "keep"',
        gpu={"driver": "keep"},
    ),
    Host(
        'driver = "keep", 550',
        UBUNTU22 | running("550.127.05", "nvidia", A100),
        "keep",
        "550.127.05",
        **PAIR,
        gpu={"driver": "keep"},
    ),
    Host(
        'driver = "590" over 580',
        UBUNTU22 | running("580.95.05", "nvidia", A100),
        "upgrade",
        "590",
        "open",
        **PAIR,
        gpu={"driver": "590"},
        says="gpu.driver is 590",
    ),
    Host(
        'driver = "580.95.05", exactly there',
        UBUNTU22 | running("580.95.05", "nvidia", A100),
        "keep",
        "580.95.05",
        **PAIR,
        gpu={"driver": "580.95.05"},
    ),
    Host(
        'driver = "550", RTX 5090',
        UBUNTU24 | {"devices": gpus(RTX5090)},
        "refuse",
        gpu={"driver": "550"},
        says="needs driver 570",
    ),
    Host(
        'driver = "590", GTX 1080 Ti',
        UBUNTU24 | {"devices": gpus(GTX1080TI)},
        "refuse",
        gpu={"driver": "590"},
        says="580 is the last",
    ),
    Host(
        'modules = "open", V100',
        UBUNTU24 | {"devices": gpus(V100)},
        "refuse",
        gpu={"modules": "open"},
        says="do not drive Tesla V100",
    ),
    Host(
        'trainer_torch = "cu130", H100',
        UBUNTU24 | {"devices": gpus(H100)},
        "install",
        **OPEN,
        webui="2.1.2+cu121",
        trainer="2.9.1+cu130",
        gpu={"trainer_torch": "cu130"},
    ),
    Host(
        'trainer_torch = "cu130", V100',
        UBUNTU24 | running("580.95.05", "nvidia", V100, modules="proprietary"),
        "refuse",
        gpu={"trainer_torch": "cu130"},
        says="no cu130 build of torch has code for Tesla V100",
    ),
    Host(
        'driver = "580", card hangs',
        UBUNTU22 | running("580.95.05", "nvidia", RTX4090, smi_exit=255, smi_gpus=(), smi_error="Unable to determine"),
        "refuse",
        gpu={"driver": "580"},
        says="power cycle",
    ),
    Host(
        'webui_torch = "cu128", GTX 1080 Ti',
        UBUNTU24 | {"devices": gpus(GTX1080TI)},
        "refuse",
        gpu={"webui_torch": "cu128"},
        says="no cu128 build of torch has code for GeForce GTX 1080 Ti",
    ),
    Host('webui_torch = "cu121", no GPU', DEBIAN12, "refuse", gpu={"webui_torch": "cu121"}, says="no NVIDIA GPU"),
    Host(
        "A new card, branch named", UBUNTU24 | {"devices": gpus(NEWER)}, "install", "620", "open", gpu={"driver": "620"}
    ),
)

HOSTS = (*BARE_HOSTS, *DRIVER_THERE, *SETTINGS)
