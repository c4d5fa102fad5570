"""Stop this host by itself when nothing has used it for a while: a service, which needs no controller.

It deletes nothing. What was not fetched stays on the disk, which the provider keeps.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from roles.onhost import files, host_stop, host_use
from roles.onhost.drawing_applications import APPLICATIONS

LOOK_SECONDS = 15.0
LATE_SECONDS = 120.0
"""With no look for so long nothing looks any more; a look takes longer on a busy host."""
PAUSED_SECONDS = 300.0
"""A longer time between two looks was none of the host's: it was frozen."""
AGAIN_SECONDS = 300.0
"""How long after a command that did not stop the host it is run again."""
HOLDER = "its own stop, as nothing uses it,"


class Idle:
    """For how long nothing has used the host, by a clock that only goes on."""

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        self._since = self._looked = self._not_before = now

    def used(self, now: float, used: bool) -> bool:
        """Note a look at the host; whether it has been idle for long enough."""
        if used or now - self._looked > PAUSED_SECONDS:
            self._since = now
        self._looked = now
        return now - self._since >= self.limit and now >= self._not_before

    def seconds(self, now: float) -> float:
        """How long it has been idle."""
        return now - self._since

    def again(self, now: float) -> None:
        """Be patient for AGAIN_SECONDS."""
        self._not_before = now + AGAIN_SECONDS


class Watcher:
    """The service."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.use = host_use.Use(options.root, {app: getattr(options, f"{app}_port") for app in APPLICATIONS})
        self.idle = Idle(options.seconds, time.monotonic())
        self._said = self._unwritten = ""

    def say(self, text: str) -> None:
        """A line of the log, unless it is the last one again."""
        if text != self._said:
            print(text, flush=True)
        self._said = text

    def run(self) -> None:
        """Look until the host stops."""
        self.say(f"stops this host with `{self.options.command}` when idle for {self.options.seconds / 60:g} min")
        while True:
            self.look()
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Look once, and stop the host if it is time."""
        uses, unknown = self.use.look()
        now = time.monotonic()
        over = self.idle.used(now, bool(uses))
        self.tell(uses, self.idle.seconds(now))
        self.say("in use: " + "; ".join(uses) if uses else "; ".join(["not in use", *unknown]))
        if over:
            self.stop()

    def tell(self, uses: list[str], seconds: float) -> None:
        """Write down what `sdfleet status` shows; a full disk keeps no host running, nor its bill."""
        told = {"limit": self.options.seconds, "idle": seconds, "at": time.time(), "uses": uses}
        why = ""
        try:
            files.write(self.options.state, json.dumps(told) + "\n")
        except OSError as error:
            why = f"what `sdfleet status` shows is not written: {error}"
            if why != self._unwritten:
                print(why, flush=True)
        self._unwritten = why

    def stop(self) -> None:
        """Stop the host, unless somebody changes or uses it after all."""
        with host_stop.alone(HOLDER) as other:
            uses = [f"{other} changes it"] if other else self.use.look()[0]
            if uses:
                self.say(f"not stopped: {'; '.join(uses)}")
                self.idle.used(time.monotonic(), True)
                return
            self.say(
                f"nothing has used this host for {self.options.seconds / 60:g} min: running `{self.options.command}`"
            )
            why = host_stop.run(self.options.command)
            if not why:
                time.sleep(host_stop.PATIENCE_SECONDS)  # if it works, this is where we end
                why = f"`{self.options.command}` ran, but this host still does"
        self.say(f"not stopped: {why}; see that by hand, or it will be tried again in {AGAIN_SECONDS / 60:g} min")
        self.idle.again(time.monotonic())


def main() -> None:
    """Watch, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True, help="how long the host must be idle")
    parser.add_argument("--command", required=True, help="shell command that stops it")
    parser.add_argument("--root", type=Path, required=True, help="the data root")
    for app, its in APPLICATIONS.items():
        parser.add_argument(f"--{app}-port", type=int, default=0, help=f"the port of {its.NAME}; 0 if there is none")
    parser.add_argument("--state", type=Path, required=True, help="file for what is known")
    Watcher(parser.parse_args()).run()
