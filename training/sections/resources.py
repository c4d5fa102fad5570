"""[resources]: processes, hosts and memory of a run. They do not change the result, except for rounding."""

from typing import Annotated

from pydantic import Field, model_validator

from training.bounds import LONGEST_WAIT
from training.sections.base import Settings

HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Resources(Settings):
    """[resources]: processes, hosts and memory of a run.

    Processes share the forward passes of a step (or the pictures of a batch); the effective batch stays
    batch_size x accumulation.
    """

    gpus: int = Field(default=1, ge=1, le=64, description="Processes per host, one GPU each (on CPUs: processes).")
    hosts: tuple[HostName, ...] = Field(
        default=(), description="Hosts of the fleet that share one run; the others connect to the first."
    )
    gpu_memory_mb: int | None = Field(
        default=None, ge=1, description="GPU memory that a process needs, in MiB; unset: an estimate from the config."
    )
    patience_s: int = Field(
        default=600,
        ge=5,
        le=LONGEST_WAIT,
        description="How long processes wait for each other before one counts as lost, in s.",
    )

    @model_validator(mode="after")
    def _different(self) -> "Resources":
        if len(set(self.hosts)) < len(self.hosts):
            raise ValueError("hosts names one host twice")
        return self
