"""A command on a host whose progress is shown while it runs."""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import gevent
from paramiko import SSHException
from pyinfra import logger
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.util import CommandOutput, OutputLine

from roles.models.sizes import format_bytes

LOST_SECONDS = 45.0
"""A host that does not answer a poll for this long counts as lost."""
LOST = f"the host has not answered for {LOST_SECONDS:.0f} s; downloads continue where they stopped"
LOOKS_A_LINE = 5
"""Polls per printed line, so that a long download does not fill the screen."""
LOOK_SECONDS = 2.0
"""Interval of polls."""


class LiveCommand(StringCommand):
    """A StringCommand that logs the content of the program's progress file while it runs.

    pyinfra returns a command's output only at its end; reading a small file works with every connector.
    """

    def __init__(self, *bits: Any, progress: PurePosixPath, **arguments: Any) -> None:
        super().__init__(*bits, **arguments)
        self.progress = progress
        self.lost = False

    def execute(self, state: State, host: Host, connector_arguments: Any) -> Any:
        sudo = {key: value for key, value in connector_arguments.items() if key.startswith(("_sudo", "_su", "_doas"))}
        onlooker = gevent.spawn(self._look, host, sudo)
        try:
            status, output = super().execute(state, host, connector_arguments)
        except (OSError, EOFError, SSHException) as error:
            status, output = False, CommandOutput([OutputLine("stderr", str(error) or "the host closed it")])
        finally:
            onlooker.kill()
        if self.lost:
            return False, CommandOutput([OutputLine("stderr", LOST)])
        events = [line for line in output.stdout_lines if '"progress"' not in line]
        for line in event_sentences(events):
            logger.info(f"{host.print_prefix}{line}")
        return status, output

    def _look(self, host: Host, arguments: dict[str, Any]) -> None:
        before, silent = "", 0
        while True:
            gevent.sleep(LOOK_SECONDS)
            silent += 1
            command = StringCommand("cat", QuoteString(str(self.progress)), "2>/dev/null || true")
            try:
                with gevent.Timeout(LOST_SECONDS):
                    _, output = host.run_shell_command(command, **arguments)
            except gevent.Timeout:
                self._give_up(host)
                return
            except (OSError, EOFError, SSHException):
                return  # the waiting command meets the same and reports it
            if output.stdout and output.stdout != before and silent >= LOOKS_A_LINE:
                before, silent = output.stdout, 0
                for line in event_sentences([before]):
                    # This is a greenlet of its own, in which pyinfra does not know whose it is.
                    logger.info(f"{host.print_prefix}{line}", extra={"of": host})

    def _give_up(self, host: Host) -> None:
        """Close the connection of the waiting command: SSH itself would wait for a lost host forever."""
        self.lost = True
        if client := getattr(host.connector, "client", None):
            client.close()


def event_sentences(lines: list[str]) -> Iterator[str]:
    """Events of sdfleet-fetch as sentences; other lines are ignored."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if text := sentence(event):
            yield text


def sentence(event: dict[str, Any]) -> str:
    """An event as a sentence; "" if it is not for the user."""
    model, source = event.get("model", ""), event.get("source", "")
    match event.get("event"):
        case "progress":
            return _progress(event["files"], event["rate"])
        case "fetched":
            return f"{model}: fetched, {format_bytes(event['bytes'])}"
        case "skip":
            onwards = f"; going on with {event['next']}" if event["next"] else ""
            return f"{model}: {source} {event['reason']}{onwards}"
        case "retry":
            onwards = f"going on with {event['next']}" if event["next"] else f"asked again in {event['wait']:.1f} s"
            return f"{model}: {source} {event['reason']}; {onwards}"
        case "scanned":
            names = ", ".join(event["names"])
            return f"{model}: a pickle that uses {names}, which the scanner does not know; it was not refused"
        case "repeat":
            return f"{model}: {source} cannot resume and sends the first {format_bytes(event['bytes'])} again"
        case "restart":
            return f"{model}: begun anew, {event['reason']}"
    return ""


def _progress(files: list[dict[str, Any]], rate: float) -> str:
    done = sum(file["done"] for file in files)
    sizes = [file["size"] for file in files]
    if not rate or None in sizes:
        return f"{format_bytes(done)} of {len(files)} file(s), {format_bytes(rate)}/s"
    active = [_one(file) for file in files if 0 < file["done"] < file["size"]]
    whole = f"{format_bytes(done)} of {format_bytes(sum(sizes))}" + (f" ({', '.join(active)})" if active else "")
    return f"{whole}, {format_bytes(rate)}/s, {_clock((sum(sizes) - done) / rate)} left"


def _one(file: dict[str, Any]) -> str:
    """Progress, speed and remaining time of a file."""
    text = f"{file['model']} {file['done'] / file['size']:.0%}"
    if not (rate := file.get("rate")):
        return text
    return f"{text} at {format_bytes(rate)}/s, {_clock((file['size'] - file['done']) / rate)}"


def _clock(seconds: float) -> str:
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f}"
