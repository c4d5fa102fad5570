"""`sdfleet logs`: what a service or a training run of a host wrote to the journal."""

import contextlib
import subprocess

from deploy import units
from deploy.console import out
from deploy.ssh import Answer, HostError, connect
from inventory.model import HostSettings


def run(host: HostSettings, what: str, lines: int, follow: bool) -> int:
    """Print the last `lines` lines of `what` (one of units.SERVICES, or a run); with `follow`, continue until Ctrl-C.

    Raises HostError if the host can't be reached or there is no such unit.
    """
    unit = units.SERVICES.get(what) or units.training(what)
    command = ["journalctl", f"--unit={unit}", f"--lines={lines}", "--no-pager", "--output=short-iso"]
    with connect([host]) as remotes:
        remote = remotes[host.name]
        load = remote.run(["systemctl", "show", unit, "--property=LoadState", "--value"]).out.strip()
        if load != "loaded":
            raise HostError(
                f"{host.name}: there is no {unit} ({load}); `sdfleet status --limit {host.name}` shows more"
            )
        with contextlib.suppress(KeyboardInterrupt):
            words = remote.argv([*command, "--follow"] if follow else command)
            with subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    out.print(line.decode(errors="replace").rstrip("\n"))
            remote.judge(Answer(process.returncode, "", ""), command)
    return 0
