"""Base class and types of the tables of a training config."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from training.bounds import bounded
from training.exact_types import exact
from training.usable_path import usable_path


class Settings(BaseModel):
    """A table: immutable; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _exact(cls, value: Any, info: ValidationInfo) -> Any:
        return exact(cls, value, info)

    @field_validator("*")
    @classmethod
    def _bounded(cls, value: Any, info: ValidationInfo) -> Any:
        return bounded(cls, value, info)


def _expand(value: object) -> object:
    return usable_path(value) if isinstance(value, str) and value else value


File = Annotated[Path, BeforeValidator(_expand)]
"""A path; a relative one starts from the folder of the config file."""

Rate = Annotated[float, Field(ge=0, le=1)]
"""A probability or a share, 0 to 1."""
