"""The request to the engine, and its events: one JSON object per line."""

from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, TypeAdapter

from deploy.connection.keys import OpenedKey
from roles.settings import Settings

Outcome = Literal["changed", "unchanged", "failed"]
"""Result of one operation."""

LOCK: Final = "the host's lock"
"""Phase of a host whose lock waits for the last step of a controller that has gone, or for the host's services."""

Status = Literal["ok", "failed", "unreachable", "stopped"]
"""How a run ended on one host."""


class _Message(BaseModel):
    """What two programs of ours tell each other: no table, whose checks of raw values exclude discriminators."""

    model_config = Settings.model_config


class Request(_Message):
    fleet: str = Field(description="Path of fleet.toml.")
    hosts: tuple[str, ...]
    roles: tuple[str, ...]
    apply: bool = Field(description="Whether to change the hosts or only list what would change.")
    files_needed: bool = Field(
        default=True, description="Whether files of this machine that a host lacks must be here; a plan needs none."
    )
    diff: bool = Field(default=False, description="Whether to show what changes inside files.")
    askpass: dict[str, PurePosixPath] = Field(default={}, description="By host, the SUDO_ASKPASS program there.")
    locked: bool = Field(default=False, description="Whether the caller holds the hosts' locks already.")
    change: str = Field(
        default="", description="With `locked`: names the change that the caller confirms; the engine confirms its own."
    )
    trainer_of: str = Field(
        default="",
        description="Folder with code and lock of an earlier trainer; only that is built.",
    )
    keys: tuple[OpenedKey, ...] = Field(default=(), description="Keys with a passphrase, held by an agent.")
    failures: int | None = Field(default=None, description="Failure budget; unset means the fleet's.")


class Phase(_Message):
    """A host enters a phase of the run."""

    event: Literal["phase"] = "phase"
    host: str
    phase: Literal["connecting", "the host's lock", "reading", "applying"]
    operations: int = 0


class Planned(_Message):
    """An operation of the plan."""

    event: Literal["planned"] = "planned"
    host: str
    operation: str
    change: bool


class Started(_Message):
    event: Literal["started"] = "started"
    host: str
    operation: str


class Finished(_Message):
    event: Literal["finished"] = "finished"
    host: str
    operation: str
    result: Outcome
    seconds: float


class Log(_Message):
    """A line that an operation or pyinfra printed."""

    event: Literal["log"] = "log"
    host: str
    level: int
    text: str


class HostResult(_Message):
    event: Literal["result"] = "result"
    host: str
    status: Status
    changed: int = 0
    unchanged: int = 0
    seconds: float = 0
    round_trips: int = Field(default=0, description="Commands and uploads that the run sent to the host.")
    error: str = ""


Event = Annotated[Phase | Planned | Started | Finished | Log | HostResult, Field(discriminator="event")]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
