"""Run one service below supervisord as systemd would: its user, limits, readiness, restarts, stop and log.

    supervised UNIT

supervisord starts and stops this runner, which ends when its service has ended for good. SIGTERM stops the service;
SIGUSR1 says that the next stop leaves it no time; SIGHUP is passed on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from roles.onhost import leftovers, provider, supervised_folders, supervisor
from roles.onhost.confine import confinement, environment, reap_orphans
from roles.onhost.supervised_process import Process
from roles.onhost.supervised_state import State
from roles.onhost.unit_log import UnitLog

LOOK_SECONDS = 0.2


class Skipped(Exception):
    """The service is not to be started, which is no failure."""


class Failed(Exception):
    """A start failed: the result in systemd's words, and why."""


class Runner:
    """One service from its start to its end, through all restarts."""

    def __init__(self, unit: str) -> None:
        self.unit, self.its = unit, supervisor.described(unit)
        self.log = UnitLog(supervisor.HOME / "logs" / f"{unit}.log")
        self.user = self.its["user"]
        self.stopping = self.hurry = False
        self.process: Process | None = None
        self.state = State(unit)

    def run(self) -> None:
        """Start it, and again as its restart policy says."""
        starts: list[float] = []
        if self.its["stop_children"]:
            self.say_left(leftovers.end_of_unit(self.unit, self.user))
        while True:
            now = time.monotonic()
            starts = [*(then for then in starts if now - then < self.its["failures_seconds"]), now]
            result = self.once()
            if self.stopping or not self.again(result):
                break
            if len(starts) >= self.its["failures"]:
                self.log.say(f"{self.unit} ended {len(starts)} times; it is not started again")
                result = "start-limit-hit"
                break
            self.state.tell("activating", "auto-restart", result=result, restarts=self.state.told["restarts"] + 1)
            self.pause(self.its["restart_seconds"])
            if self.stopping:
                break
        well = self.stopping or result == "success"
        self.state.tell("inactive" if well else "failed", "dead" if well else "failed", result=result, pid=0)
        try:
            supervised_folders.clear(self.unit, self.its)
        except OSError as error:
            self.log.say(f"{self.unit} leaves something behind: {error}")

    def again(self, result: str) -> bool:
        """Whether a service that ended so is started again."""
        policy = self.its["restart"]
        return policy == "always" or (policy == "on-failure" and result != "success")

    def once(self) -> str:
        """One start of the service, until it has ended; the result in systemd's words."""
        self.state.tell("activating", "start", invocation=uuid.uuid4().hex, left=_now(), text="", pid=0)
        self.log.invocation = self.state.told["invocation"]
        try:
            self.prepare()
            return self.serve()
        except Skipped as skipped:
            self.log.say(f"{self.unit} is not started: {skipped}")
            self.stopping = True
            return "success"
        except Failed as failure:
            result, why = failure.args
            self.log.say(f"{self.unit}: {why}")
            return str(result)
        except (OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            self.log.say(f"{self.unit} cannot be started: {error}")
            return "resources"
        finally:
            self.leave_nothing()

    def leave_nothing(self) -> None:
        """End a program that still runs after a fault, and its children."""
        if self.process and self.process.status is None:
            self.process.signal(signal.SIGKILL)
            self.process.wait(None)
            if self.its["stop_children"]:
                self.say_left(leftovers.end_below(self.user))

    def say_left(self, left: Sequence[int]) -> None:
        """Name the processes that could not be ended."""
        if left:
            self.log.say(f"{self.unit} leaves processes that do not end: {' '.join(map(str, left))}")

    def prepare(self) -> None:
        """All that comes before its program. Raises Skipped, Failed, OSError."""
        if self.its["needs"] and not Path(self.its["needs"]).exists():
            raise Failed("assert", f"{self.its['needs']} is missing")
        supervised_folders.make(self.unit, self.its)
        if self.its["condition"] and self.helper(self.its["condition"]):
            raise Skipped("it is stopped" if self.stopping else "its condition says no")

    def serve(self) -> str:
        """Run its program to the end; the result."""
        self.process = process = self.spawn([*self.its["program"], *self.its["foreground"]], main=True)
        self.state.tell("activating", "start", pid=process.pid)
        deadline = time.monotonic() + self.its["start_seconds"]
        answers = self.spawn(self.its["answers"]) if self.its["answers"] else None
        while (status := process.wait(LOOK_SECONDS)) is None and not self.stopping:
            self.state.write()
            if answers and (answered := answers.wait(0)) is not None:
                answers = None
                if answered:
                    self.log.say(f"{self.unit} does not answer")
                    self.end(process)
                    return self.ended("exit-code")
            if self.state.told["active"] == "activating" and process.ready and answers is None:
                self.state.tell("active", "running", entered=_now(), ready_at=time.time())
                self.log.say(f"{self.unit} started")
            if process.text != self.state.told["text"]:
                self.state.tell(self.state.told["active"], self.state.told["sub"], text=process.text)
            late = self.state.told["active"] == "activating" and time.monotonic() > deadline
            if late or (self.its["longest_seconds"] and time.monotonic() > deadline + self.its["longest_seconds"]):
                self.log.say(f"{self.unit} {'is not ready in time' if late else 'has run long enough'}")
                self.end(process)
                return self.ended("timeout" if late else "success")
        if status is None:
            self.end(process)
            status = process.status
        return self.ended(self.result(status or 0))

    def ended(self, result: str) -> str:
        """What is to be done once its program has ended."""
        if self.its["stop_children"]:
            self.say_left(leftovers.end_below(self.user))
        if self.its["after"]:
            self.helper(self.its["after"], last=True)
        return result

    def end(self, process: Process) -> None:
        """Ask the program to stop, and kill it when its time is over."""
        self.state.tell("deactivating", "stop-sigterm")
        process.signal(getattr(signal, f"SIG{self.its['stop_signal']}"))
        deadline = time.monotonic() + self.its["stop_seconds"]
        while process.wait(LOOK_SECONDS) is None:
            self.state.write()
            if self.hurry or time.monotonic() > deadline:
                self.log.say(f"{self.unit} is killed")
                process.signal(signal.SIGKILL)
                process.wait(None)

    def result(self, status: int) -> str:
        """The result of a program that ended with this status (as `Popen.returncode`)."""
        good = status in (0, *self.its["good_statuses"]) or (self.stopping and status in (-15, -3))
        if good:
            return "success"
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        self.log.say(f"{self.unit}: its program {how}")
        return "signal" if status < 0 else "exit-code"

    def spawn(self, words: Sequence[str], *, main: bool = False) -> Process:
        """Start a program as the service's user; only the main one is heard when it tells of itself."""
        own = {
            **provider.threads(),
            **self.its["environment"],
            "INVOCATION_ID": self.state.told["invocation"],
            leftovers.MARK: leftovers.mark_of(self.unit),
        }
        if self.its["credentials"]:
            own["CREDENTIALS_DIRECTORY"] = str(supervisor.SECRETS / self.unit)
        limits = {name: self.its[name] for name in ("nice", "oom_score", "open_files", "umask", "low_ports")}
        confine = confinement(self.user, {**limits, "dies": self.its["stop_children"]})
        ready = self.its["ready"] if main else "started"
        notify = supervisor.RUN / "notify" / self.unit if main and self.its["status"] else None
        folder = self.its["folder"] or "/"
        return Process(words, environment(self.user, own), folder, confine, self.log, ready, notify, self.user)

    def helper(self, words: Sequence[str], *, last: bool = False) -> int:
        """Run a command of the service to its end; its status. One that is not the `last` ends when we are stopped."""
        process = self.spawn(words)
        deadline = time.monotonic() + self.its["start_seconds"]
        while (status := process.wait(LOOK_SECONDS)) is None and time.monotonic() < deadline:
            if self.hurry or (self.stopping and not last):
                break
        if status is None:
            process.signal(signal.SIGKILL)
            status = process.wait(None)
        return status or 0

    def pause(self, seconds: float) -> None:
        """Wait, unless the service is stopped."""
        deadline = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < deadline:
            self.state.write()
            time.sleep(min(LOOK_SECONDS, seconds))

    def on_signal(self, number: int, _frame: object) -> None:
        """Note what supervisord, or another program of ours, wants."""
        if number == signal.SIGHUP:
            if self.process:
                self.process.signal(signal.SIGHUP)
        elif number == signal.SIGUSR1:
            self.hurry = True
        else:
            self.stopping = True


def _now() -> int:
    """The monotonic clock in us, as systemd tells times."""
    return int(time.monotonic() * 1e6)


def main() -> None:
    """Run the unit that the command line names."""
    runner = Runner(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, runner.on_signal)
    reap_orphans()
    began = time.monotonic()
    runner.run()
    time.sleep(max(0.0, supervisor.LEAST_SECONDS + LOOK_SECONDS - (time.monotonic() - began)))
