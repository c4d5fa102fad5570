"""What a rollout did to a host, written on the host: so another controller can go on where one was interrupted."""

import time
from typing import Any, Literal

from pydantic import Field, ValidationError

from deploy.ssh import Remote
from inventory.hosts import whoami
from roles.settings import Settings


class Mark(Settings):
    """The state of one host in a rollout."""

    rollout: str = Field(description="Which one: a digest of fleet.toml and fleet.lock.")
    state: Literal["begun", "passed", "back"] = Field(
        description="begun: perhaps switched, not judged yet; passed: all gates; back: on the old release again."
    )
    before: dict[str, Any] = Field(description="What deploy/onhost/gate.py saw before the host was touched.")
    by: str
    at: str = Field(description="UTC.")
    reason: str = Field(default="", description="Why it is back: the gate and what was said.")


def read(remote: Remote) -> Mark | None:
    """The mark of a host; None if no rollout has been there. Raises HostError."""
    answer = remote.run(["cat", str(remote.host.paths.rollout)], check=False)
    try:
        return Mark.model_validate_json(answer.out) if answer.status == 0 else None
    except ValidationError:
        return None  # of an older sdfleet, or damaged: as if no rollout had been there


def write(
    remote: Remote, rollout: str, state: Literal["begun", "passed", "back"], before: dict[str, Any], reason: str = ""
) -> None:
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
