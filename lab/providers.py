"""What the containers of each provider are like, as far as it can be seen from inside.

Read in the providers' published images and documentation, and in what their users publish; nobody asked the providers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lab.network import GATEWAY
from lab.standin_container import script
from lab.state import ProviderName

Path = PurePosixPath


@dataclass(frozen=True)
class Provider:
    """One kind of container."""

    title: str
    disk: Path
    """Where its data disk is mounted."""
    keeps_root: bool
    """Whether its root file system outlives a stop; else each start begins with the image and new host keys."""
    start: Path
    """Process 1: a shell script."""
    hostname: str
    """With {id}, twelve hexadecimal digits."""
    variables: Callable[[str], Mapping[str, str]]
    """Environment of process 1, from that id."""
    shell_file: Path
    """The same variables for shells; sshd passes none on."""
    stop: tuple[Path, str]
    """The program that stops the container from inside, and its arguments."""
    before: Path | None = None
    """Script that each start runs before sshd is up."""
    after: Path | None = None
    """Script that each start runs after sshd is up."""
    strict: bool = False
    """Whether a failing hook ends the container."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Further files by which it is recognised."""


# The variables and /init/boot/boot.sh are in what users publish of their instances (env dumps, `ps`), as is that each
# start runs /init/bin/customer.cmd.sh, which runs /etc/autodl.sh if somebody made one; the documentation has
# network_turbo and `shutdown` (autodl.com/docs). The proxy is lab/upstreams/academic_proxy.py.
AUTODL = Provider(
    title="AutoDL",
    disk=Path("/root/autodl-tmp"),
    keeps_root=True,
    start=Path("/init/boot/boot.sh"),
    hostname="autodl-container-{id}",
    variables=lambda identity: {
        "AutoDLContainerUUID": f"{identity[:10]}-{identity[4:]}",
        "AutoDLRegion": "west-B",
        "AutoDLService6006URL": f"https://u1-{identity}.westb.seetacloud.com:8443",
    },
    shell_file=Path("/etc/profile.d/autodl.env.sh"),
    stop=(Path("/usr/bin/shutdown"), ""),
    after=Path("/init/bin/customer.cmd.sh"),
    files={
        "/etc/autodl-motd": "echo AutoDL\n",
        "/etc/network_turbo": f"export http_proxy=http://{GATEWAY}:12798 https_proxy=http://{GATEWAY}:12798\n",
        "/init/bin/customer.cmd.sh": script("customer"),
    },
)

# runpod/containers, container-template/start.sh: hooks, order, `set -e`, /etc/rp_environment. Its sshd needs a key that
# the account has; the lab gives a password, so that one way in is tested for all. The variables and runpodctl:
# docs.runpod.io, "Environment variables" and "Stop a Pod".
RUNPOD = Provider(
    title="RunPod",
    disk=Path("/workspace"),
    keeps_root=False,
    start=Path("/start.sh"),
    hostname="{id}",
    variables=lambda identity: {
        "RUNPOD_POD_ID": identity,
        "RUNPOD_POD_HOSTNAME": f"{identity}-64410ef5",
        "RUNPOD_DC_ID": "EU-RO-1",
    },
    shell_file=Path("/etc/rp_environment"),
    stop=(Path("/usr/local/bin/runpodctl"), "stop pod "),
    before=Path("/pre_start.sh"),
    after=Path("/post_start.sh"),
    strict=True,
)

# vast-ai/base-image: 10-prep-env.sh reads CONTAINER_ID, VAST_CONTAINERLABEL and /.launch, and writes /etc/environment;
# entrypoint.sh is process 1. docs.vast.ai: onstart.sh at each start, `vastai stop instance`. (Theirs has supervisord
# and Caddy too; the lab's has not, as other images there.)
VAST = Provider(
    title="vast.ai",
    disk=Path("/workspace"),
    keeps_root=True,
    start=Path("/opt/instance-tools/bin/entrypoint.sh"),
    hostname="{id}",
    variables=lambda identity: {
        "CONTAINER_ID": str(int(identity[:6], 16)),
        "VAST_CONTAINERLABEL": f"C.{int(identity[:6], 16)}",
        "WORKSPACE": "/workspace",
    },
    shell_file=Path("/etc/environment"),
    stop=(Path("/usr/local/bin/vastai"), "stop instance "),
    after=Path("/root/onstart.sh"),
    files={"/.launch": "ssh\n"},
)

PROVIDERS: Mapping[ProviderName, Provider] = {"autodl": AUTODL, "runpod": RUNPOD, "vast": VAST}
