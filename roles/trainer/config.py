"""Settings of the trainer role."""

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from roles.application_settings import KeptReleases, LoopbackPort, PythonVersion
from roles.settings import Address, ControllerPath, Settings


def _is_peer(place: str) -> str:
    try:
        ip_network(place)
    except ValueError as error:
        raise ValueError(f"{place!r} is no address or network such as 10.0.0.0/24: {error}") from error
    return place


class Trainer(Settings):
    """The bundled training recipe on a host."""

    requirements: ControllerPath | None = Field(
        default=None,
        description="Hashed requirements lock of the training environment (path relative to fleet.toml), or "
        "a folder of them as `sdfleet lock envs` writes; unset means the locks that sdfleet ships.",
    )
    python: PythonVersion = "3.11"
    gpus: int = Field(
        default=1, ge=0, description="GPUs that runs may use, from GPU 0 on; each trains one run. 0 trains on the CPU."
    )
    beside_webui: Literal["unload", "wait", "refuse", "share"] = Field(
        default="unload",
        description="What a run does if the WebUI or ComfyUI runs on the GPU it would take: let it unload its models "
        "(the WebUI loads its model again afterwards), wait until it is stopped, refuse to start, or share the GPU.",
    )
    memory_max: str = Field(
        default="90%",
        pattern=r"^(infinity|\d+%|\d+[KMGT]?)$",
        description="Main memory of a run, and of all together (systemd's MemoryMax): a share, bytes, or infinity.",
    )
    address: Address | None = Field(
        default=None, description="Where the other hosts of a shared run reach this one; unset: the SSH address."
    )
    meeting_port: int = Field(default=29500, ge=1024, le=65535, description="Port where hosts of a shared run meet.")
    peers: tuple[Annotated[str, AfterValidator(_is_peer)], ...] = Field(
        default=(),
        description="Addresses or networks (10.0.0.0/24) that runs may talk to; hosts that share a run need each "
        "other's. Their talk is not encrypted: a private network, please.",
    )
    nice: int = Field(default=5, ge=-20, le=19, description="Scheduling priority of runs.")
    tensorboard_port: LoopbackPort = Field(default=6007, description="Loopback port of the runs' TensorBoard.")
    keep_releases: KeptReleases = 2
