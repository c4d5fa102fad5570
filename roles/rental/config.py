"""Settings of the rental role: what a rented host costs, and how that ends."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from roles.onhost.provider import AUTO
from roles.settings import Duration, Line, Settings

KEY = re.compile(r"api[-_]?key|token|password|bearer|secret|authorization", re.IGNORECASE)


def _is_command(value: str) -> str:
    """A shell command that names no key: that would stand in every list of processes, even if from a variable."""
    command = value.strip()
    if command.startswith("-"):
        raise ValueError(f"{command!r} is no command: it begins with an option")
    if found := KEY.search(command):
        raise ValueError(
            f"has {found[0]!r} in it: a key in a command line can be read by every user of the host; let a program "
            "read it from a file of root's there, and name the program here"
        )
    return command


class Rental(Settings):
    """How a rented host is stopped, and its bill with it."""

    stop_command: Annotated[Line, AfterValidator(_is_command)] = Field(
        default=AUTO,
        max_length=1000,
        description="Shell command that stops the host, and its bill, from inside; for `--then stop` and `idle_stop`. "
        "It runs as root, in containers with the environment of process 1, where providers put identifiers and keys. "
        '"auto": the provider\'s where it is recognised, which is `shutdown` on AutoDL, `runpodctl stop pod '
        '$RUNPOD_POD_ID` on RunPod, and `vastai stop instance $CONTAINER_ID` on vast.ai; "": none.',
    )
    idle_stop: Duration | None = Field(
        default=None,
        description="The host stops itself when nothing has trained, drawn or downloaded for so long: 30m, 2h. "
        "Unset: never.",
    )
    keeps_data: bool = Field(
        default=True,
        description="Whether a stop keeps the disk of data_root. Where it does not, sdfleet never stops the host.",
    )
    released_days: int | None = Field(
        default=None,
        ge=1,
        le=3650,
        description="Days after a stop on which the provider deletes the host, for the warning of `status`. "
        "Unset: 15 on AutoDL, elsewhere none.",
    )

    @model_validator(mode="after")
    def _can_stop(self) -> "Rental":
        if self.idle_stop and not self.stop_command:
            raise ValueError('idle_stop needs a stop_command, which is ""')
        if self.idle_stop and not self.keeps_data:
            raise ValueError("idle_stop would lose the data, as keeps_data is false; leave one of them out")
        return self
