"""The state of a service below supervisord, as its runner writes it down for all who ask (`supervisor.read_state`)."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from roles.onhost import supervisor


class State:
    """What is known of one service."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._written = False
        pid = os.getpid()
        self.told: dict[str, Any] = {
            **{"runner": pid, "since": supervisor.started(pid), "digest": supervisor.digest(unit)},
            **{"active": "activating", "sub": "start", "result": "success", "restarts": 0, "pid": 0},
            **{"invocation": "", "left": 0, "entered": 0, "ready_at": 0.0, "text": ""},
        }

    def tell(self, active: str, sub: str, **more: Any) -> None:
        """Write down what the service's state is now."""
        self.told.update(active=active, sub=sub, **more)
        self._written = False
        self.write()

    def write(self) -> None:
        """Write the state down if that is still to be done: a full disk ends no service, the next look tries again."""
        if not self._written:
            with contextlib.suppress(OSError):
                supervisor.write_state(self.unit, self.told)
                self._written = True
