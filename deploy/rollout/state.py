"""The state of a rollout on each host, kept on the host, so that another controller can resume it."""

import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.connection.ssh import Remote
from inventory.hosts import whoami

State = Literal["begun", "passed", "back", "failed"]


class Mark(BaseModel):
    """The state of one host in a rollout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rollout: str = Field(description="Its id, a digest of fleet.toml and fleet.lock.")
    state: State = Field(
        description="begun: perhaps switched, not checked yet; passed: all gates; back: rolled back and running; "
        "failed: something could not be rolled back, or does not run since."
    )
    before: dict[str, Any] = Field(description="The answer of deploy/onhost/gate.py before the host was changed.")
    by: str
    at: str = Field(description="UTC.")
    reason: str = Field(default="", description="Why it was rolled back: gate and reason; then what failed in that.")

    @property
    def unfinished(self) -> bool:
        """Whether the host must be looked at again, and compared with what was recorded before."""
        return self.state in ("begun", "failed")


def read(remote: Remote) -> Mark | None:
    """The mark of a host; None if no rollout has been there. Raises HostError."""
    answer = remote.run(["cat", str(remote.host.paths.rollout)], check=False)
    try:
        return Mark.model_validate_json(answer.out) if answer.status == 0 else None
    except ValidationError:
        return None  # written by an older sdfleet, or damaged


def write(remote: Remote, rollout: str, state: State, before: dict[str, Any], reason: str = "") -> None:
    """Replace the mark of a host. Raises HostError."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    mark = Mark(rollout=rollout, state=state, before=before, by=whoami(), at=now, reason=reason)
    place = '"$1"'
    script = (
        f"umask 077; mkdir -p $(dirname {place}) && cat >{place}.new && sync {place}.new && mv -f {place}.new {place} "
        f"|| {{ rm -f {place}.new; exit 1; }}"
    )
    text = mark.model_dump_json().encode()
    remote.run(["sh", "-c", script, "sdfleet", str(remote.host.paths.rollout)], input=text)
