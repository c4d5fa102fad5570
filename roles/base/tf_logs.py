"""The training runs in the TensorBoard that AutoDL's page shows: a link where that looks for logs."""

import shlex
from pathlib import PurePosixPath

from pyinfra.api.exceptions import DeployError
from pyinfra.operations import server

from roles.facts.seen import HostSurvey

FOLDER = PurePosixPath("/root/tf-logs")
"""The one folder that AutoDL's TensorBoard shows (autodl.com/docs)."""
LINK = FOLDER / "sdfleet"
PROVIDER = "AutoDL"


def show_runs(runs: PurePosixPath | None, provider: str, seen: HostSurvey) -> None:
    """Link to the runs on AutoDL's hosts, and leave no link where there are none.

    + runs: folder of the training runs; None on a host that does not train
    + provider: name of the host's provider, empty for none
    + seen: a survey that looked at LINK
    """
    there = seen.entry(LINK)
    if runs is None or provider != PROVIDER:
        if there and there.kind == "l":
            server.shell(name="Take the runs out of AutoDL's TensorBoard", commands=[f"rm -f {LINK}"])
        return
    if there and there.kind != "l":
        raise DeployError(
            f"{LINK} is in the way of a link to the training runs, for AutoDL's TensorBoard: move it elsewhere, and "
            "apply again"
        )
    if not there or there.target != str(runs):
        command = f"mkdir -p -m 700 {FOLDER} && ln -sfn {shlex.quote(str(runs))} {LINK}"
        server.shell(name="Show the runs in AutoDL's TensorBoard", commands=[command])
