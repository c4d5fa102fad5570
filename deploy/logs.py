"""`sdfleet logs`: what a service or a training run of a host wrote to its log."""

import contextlib
import json
import subprocess

from deploy import units
from deploy.console import out
from deploy.onhost import show_log
from deploy.ssh import Answer, HostError, connect
from inventory.model import HostSettings
from roles.programs import called, receiver


def run(host: HostSettings, what: str, lines: int, follow: bool) -> int:
    """Print the last `lines` lines of `what` (one of units.SERVICES, or a run); with `follow`, continue until Ctrl-C.

    Raises HostError if the host can't be reached or there is no such unit.
    """
    unit = units.SERVICES.get(what) or units.training(what)
    with connect([host]) as remotes:
        remote = remotes[host.name]
        label = f"reading the log of {unit}"
        answer = remote.call(show_log, label=label, unit=unit)
        loaded = answer["loaded"]
        if not loaded:
            raise HostError(f"{answer['manager']} of {host.name} does not answer")
        if loaded != "loaded":
            raise HostError(
                f"{host.name}: there is no {unit} ({loaded}); `sdfleet status --limit {host.name}` shows more"
            )
        wanted = json.dumps({"unit": unit, "last": lines, "follow": follow})
        text = called(show_log.__name__, wanted).encode()
        with contextlib.suppress(KeyboardInterrupt):
            with subprocess.Popen(
                remote.argv(receiver()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process:
                assert process.stdin is not None and process.stdout is not None
                # If ssh has ended, its status says why.
                with contextlib.suppress(BrokenPipeError), process.stdin as program:
                    program.write(text)
                for line in process.stdout:
                    out.print(line.decode(errors="replace").rstrip("\n"))
            remote.judge(Answer(process.returncode, "", ""), [], label=label)
    return 0
