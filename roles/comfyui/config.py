"""Settings of the ComfyUI role."""

from pydantic import Field, field_validator

from roles.application_settings import Device, KeptReleases, LoopbackPort, PinnedCommit, PythonVersion, ShippedTorch
from roles.comfyui.flags import FLAGS
from roles.egress import Egress
from roles.launch_flags import Flag
from roles.names import Commit
from roles.settings import ControllerPath, GitUrl, Line, Name, Ref, Settings, raise_all
from training.bounds import LONGEST_WAIT

KNOWN_COMMIT = "a125cd84b054a57729b5eecab930ca9408719832"
"""ComfyUI 0.3.64 (2025-10-12); the environments' shipped locks are made for it."""


class CustomNode(Settings):
    """A ComfyUI custom node at one commit; part of the release."""

    name: Name = Field(description="Folder name below custom_nodes/.")
    url: GitUrl = Field(description="Clone URL.")
    commit: Commit = Field(description="Full commit id.")


class Comfyui(Settings):
    """ComfyUI as a service."""

    repository: GitUrl = Field(
        default="https://github.com/Comfy-Org/ComfyUI.git",
        description="Clone URL of ComfyUI.",
    )
    ref: Ref = Field(
        default=KNOWN_COMMIT,
        description="Full commit id, or a tag or branch, which must then be in fleet.lock; the default is 0.3.64.",
    )
    commit: PinnedCommit = None
    requirements: ControllerPath | None = Field(
        default=None,
        description="Hashed requirements lock of the environment (path relative to fleet.toml), or a folder of "
        "them as `sdfleet lock envs` writes; unset means the locks that sdfleet ships for this commit.",
    )
    python: PythonVersion = "3.11"
    torch: ShippedTorch = "auto"
    device: Device = Field(
        default="auto", description="What pictures are computed on; auto takes the GPU if the host has one."
    )
    port: LoopbackPort = Field(default=8188, description="Loopback port of ComfyUI.")
    flags: dict[str, Flag] = Field(
        default={},
        description="Further launch flags, e.g. { lowvram = true, cuda_device = 1 }; cuda_device is a GPU's number as "
        "nvidia-smi shows it.",
    )
    extra_arguments: tuple[Line, ...] = Field(
        default=(), description="Launch arguments that a newer ComfyUI has, as they are written on a command line."
    )
    egress: tuple[Egress, ...] = Field(
        default=(),
        description='Networks the service may reach besides loopback, e.g. ["10.0.0.0/8"], or ["any"]; '
        'link-local addresses never. Only with "any" it has the nodes that call paid services of others.',
    )
    custom_nodes: tuple[CustomNode, ...] = Field(
        default=(),
        description="Custom nodes, pinned by commit; their own installers never run, so `requirements` must have "
        "what they need.",
    )
    start_timeout: int = Field(
        default=600,
        ge=10,
        le=LONGEST_WAIT,
        description="How long the service may take until it draws its first picture, in s.",
    )
    keep_releases: KeptReleases = 2

    @field_validator("flags")
    @classmethod
    def _flags_are_its_own(cls, flags: dict[str, Flag]) -> dict[str, Flag]:
        return FLAGS.checked(flags)

    @field_validator("extra_arguments")
    @classmethod
    def _arguments_are_no_flags(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        raise_all([said for argument in arguments if (said := FLAGS.refusal(argument))], arguments)
        return arguments

    @property
    def gpu(self) -> int:
        """The GPU that it uses, by nvidia-smi's number."""
        return int(self.flags.get("cuda_device", 0))
