"""All addresses and ports of the lab's network."""

GATEWAY = "10.77.0.1"
"""The lab's own address, where its servers listen; hosts also know it by the name `lab`."""

PREFIX = 24
MAX_HOSTS = 100

SSH_PORT = 22
PACKAGES_PORT = 3142
"""Package proxy: apt proxy, and a Python package index below /simple/."""
GITHUB_PORT = 8080
"""Stand-in GitHub proxy, asked as PREFIX/https://github.com/OWNER/NAME."""
HUGGINGFACE_PORT = 8081
"""Stand-in Hugging Face endpoint."""
NVIDIA_PORT = 8090
"""Stand-in for NVIDIA's apt repository."""

PACKAGES_URL = f"http://{GATEWAY}:{PACKAGES_PORT}"
INDEX_URL = f"{PACKAGES_URL}/simple"
TORCH_URL = f"{PACKAGES_URL}/torch"
GITHUB_URL = f"http://{GATEWAY}:{GITHUB_PORT}"
NVIDIA_URL = f"http://{GATEWAY}:{NVIDIA_PORT}"
HUGGINGFACE_URL = f"http://{GATEWAY}:{HUGGINGFACE_PORT}"


def host_name(number: int) -> str:
    """Name of the lab's host `number`, counted from 1."""
    return f"h{number}"


def container_name(number: int) -> str:
    """Name of the lab's container `number`, counted from 1."""
    return f"c{number}"


def host_address(number: int) -> str:
    """Address of host `number` on the lab's network; containers are counted after the hosts."""
    return f"10.77.0.{10 + number}"
