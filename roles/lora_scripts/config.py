"""Settings of the lora-scripts role."""

from pydantic import Field

from roles.application_settings import Device, LoopbackPort, PinnedCommit, PythonVersion, ShippedTorch
from roles.settings import ControllerPath, GitUrl, Ref, Settings
from training.bounds import LONGEST_WAIT

KNOWN_COMMIT = "fdefba979981fd20d3bb77cb52dc59aeb274ba86"
"""The newest commit when this was written (2025-09-02); the environments' shipped locks are made for it."""


class LoraScripts(Settings):
    """Akegarasu's lora-scripts: the GUI that starts trainings, and TensorBoard, as services."""

    repository: GitUrl = Field(
        default="https://github.com/Akegarasu/lora-scripts.git",
        description="Clone URL; its submodules come from the URLs that its commit names.",
    )
    ref: Ref = Field(
        default=KNOWN_COMMIT,
        description="Full commit id, or a tag or branch, which must then be in fleet.lock.",
    )
    commit: PinnedCommit = None
    requirements: ControllerPath | None = Field(
        default=None,
        description="Hashed requirements lock of the environment (path relative to fleet.toml); "
        "unset means the lock that sdfleet ships for this commit.",
    )
    python: PythonVersion = "3.11"
    torch: ShippedTorch = "auto"
    device: Device = Field(
        default="auto", description="What its trainings compute on; auto takes the GPU if the host has one."
    )
    port: LoopbackPort = Field(default=28000, description="Loopback port of the GUI.")
    tensorboard_port: LoopbackPort = Field(
        default=6006, description="Loopback port of its TensorBoard, which the GUI shows too."
    )
    start_timeout: int = Field(
        default=300,
        ge=10,
        le=LONGEST_WAIT,
        description="How long the GUI and its TensorBoard may each take until they answer, in s.",
    )
    keep_releases: int = Field(
        default=2,
        ge=1,
        description="How many releases to keep, the current one included; a training that outlives an update needs "
        "the one it began with.",
    )
