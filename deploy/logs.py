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
        loaded = remote.call(show_log, unit=unit)
        if loaded != "loaded":
            raise HostError(
                f"{host.name}: there is no {unit} ({loaded}); `sdfleet status --limit {host.name}` shows more"
            )
        with contextlib.suppress(KeyboardInterrupt):
            wanted = json.dumps({"unit": unit, "last": lines, "follow": follow})
            with subprocess.Popen(
                remote.argv(receiver()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process:
                assert process.stdin is not None and process.stdout is not None
                with process.stdin as program:
                    program.write(called(show_log.__name__, wanted).encode())
                for line in process.stdout:
                    out.print(line.decode(errors="replace").rstrip("\n"))
            remote.judge(Answer(process.returncode, "", ""), ["show_log", unit])
    return 0
