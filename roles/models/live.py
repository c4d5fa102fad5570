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

from roles.models.amount import amount

LOST_SECONDS = 45.0
"""A host that does not answer a look for so long is gone."""
LOST = (
    f"the host has not answered for {LOST_SECONDS:.0f} s: it is down, or its network is cut; "
    "run apply again when it is back, downloads go on where they stopped"
)
LOOKS_A_LINE = 5
"""How many looks make one line for the person: hours of download must not fill the screen."""
LOOK_SECONDS = 2.0
"""How often the host is asked how far it is."""


class LiveCommand(StringCommand):
    """Runs like a StringCommand, and now and then logs what the program wrote into its progress file.

    pyinfra hands over a command's output only at its end; a look at a small file works over every connector.
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
            status, output = False, CommandOutput([OutputLine("stderr", f"the connection broke off ({error})")])
        finally:
            onlooker.kill()
        if self.lost:
            return False, CommandOutput([OutputLine("stderr", LOST)])
        events = [line for line in output.stdout_lines if '"progress"' not in line]
        for line in said(events):
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
                for line in said([before]):
                    logger.info(f"{host.print_prefix}{line}")

    def _give_up(self, host: Host) -> None:
        """Close the connection under the waiting command: SSH itself would wait for a vanished host for ever."""
        self.lost = True
        if client := getattr(host.connector, "client", None):
            client.close()


def said(lines: list[str]) -> Iterator[str]:
    """Events of sdfleet-fetch as sentences; lines that are none are left out."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if text := sentence(event):
            yield text


def sentence(event: dict[str, Any]) -> str:
    """One event as a sentence; "" if there is nothing to tell a person."""
    model, source = event.get("model", ""), event.get("source", "")
    match event.get("event"):
        case "progress":
            return _progress(event["files"], event["rate"])
        case "fetched":
            return f"{model}: fetched, {amount(event['bytes'])}"
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
            return f"{model}: {source} cannot resume and sends the first {amount(event['bytes'])} again"
        case "restart":
            return f"{model}: begun anew, {event['reason']}"
    return ""


def _progress(files: list[dict[str, Any]], rate: float) -> str:
    done = sum(file["done"] for file in files)
    sizes = [file["size"] for file in files]
    if not rate or None in sizes:
        return f"{amount(done)} of {len(files)} file(s), {amount(rate)}/s"
    active = [_one(file) for file in files if 0 < file["done"] < file["size"]]
    whole = f"{amount(done)} of {amount(sum(sizes))} ({', '.join(active)})"
    return f"{whole}, {amount(rate)}/s, {_clock((sum(sizes) - done) / rate)} left"


def _one(file: dict[str, Any]) -> str:
    """How far one file is, how fast it comes, and when it will be here."""
    text = f"{file['model']} {file['done'] / file['size']:.0%}"
    if not (rate := file.get("rate")):
        return text
    return f"{text} at {amount(rate)}/s, {_clock((file['size'] - file['done']) / rate)}"


def _clock(seconds: float) -> str:
    return f"{seconds // 60:.0f}:{seconds % 60:02.0f}"
