"""[resources]: what a run computes on. None of it changes what is learned, beyond the rounding of sums."""

from typing import Annotated

from pydantic import Field, model_validator

from training.sections.base import Settings

HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Resources(Settings):
    """[resources]: processes, hosts and memory of a run.

    The forward passes of a step (or the pictures of a batch) are shared out, so that batch_size x accumulation
    stays the effective batch whatever stands here.
    """

    gpus: int = Field(default=1, ge=1, le=64, description="Processes a host, one GPU each (on the CPU: processes).")
    hosts: tuple[HostName, ...] = Field(
        default=(), description="Hosts of the fleet that share one run; the first is where the others meet."
    )
    gpu_memory_mb: int | None = Field(
        default=None, ge=1, description="GPU memory that a process needs, in MiB; unset: an estimate from the config."
    )
    patience_s: int = Field(
        default=600, ge=5, description="How long processes wait for each other before one counts as lost, in s."
    )

    @model_validator(mode="after")
    def _different(self) -> "Resources":
        if len(set(self.hosts)) < len(self.hosts):
            raise ValueError("hosts names one host twice")
        return self
