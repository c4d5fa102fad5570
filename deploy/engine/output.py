"""What the engine's process prints: one event a line. Only for that process."""

import logging
import re
import sys

from pyinfra.api.host import Host

from deploy.engine.events import Event, Log
from deploy.engine.pyinfra_session import current_host

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def emit(event: Event) -> None:
    sys.stdout.write(event.model_dump_json() + "\n")
    sys.stdout.flush()


def host_name(host: Host) -> str:
    """The host's name in fleet.toml; pyinfra's own is its address."""
    return str(host.data.settings.name)


class LogToEvents(logging.Handler):
    """Turns pyinfra's log lines into events of the host that a line names as `of`, or of the current one."""

    def emit(self, record: logging.LogRecord) -> None:
        host = getattr(record, "of", None) or current_host()
        text = ANSI.sub("", record.getMessage()).rstrip()
        if host is not None:
            text = text.removeprefix(ANSI.sub("", host.print_prefix)).strip()
        # pyinfra logs this when an operation fails; the reason is in the operation's result.
        if text and not text.startswith("Error: executed "):
            emit(Log(host=host_name(host) if host else "", level=record.levelno, text=text))
