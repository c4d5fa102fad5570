"""The base of every typed table of fleet.toml."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen table: unknown keys are refused, so that a typo is never silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
