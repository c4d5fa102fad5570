"""Roll a host back to what served before a rollout."""

import json
from typing import Any

from deploy import releases, units
from deploy.onhost import running
from deploy.rollout.gates import Seen
from deploy.ssh import Remote


def roll_back(remote: Remote, before: Seen, now: bool) -> list[str]:
    """Roll a host back. Returns one sentence per application. Raises HostError.

    + before: the state recorded before the host was changed
    + now: whether to cut off running generations
    """
    said = []
    for app, entry in history(remote).items():
        old = before["history"].get(app) or {"release": before["releases"].get(app)}
        if old["release"] is None:
            said.append(f"{app}: no earlier release to roll back to")
        elif entry != old:
            said.append(f"{app} rolled back: {releases.roll_back(remote, app, old['release'], now)}")
        else:
            said.append(_still(remote, app, entry["release"]))
    return said


def _still(remote: Remote, app: str, release: str) -> str:
    """The sentence for an application that is on its old release already: a failed switch went back, if it could."""
    service = app.replace("_", "-")
    if unit := units.SERVICES.get(service):
        seen = remote.call(running, unit=unit)
        if seen["state"] != "active":
            host = remote.name
            return (
                f"{app} is on {release} again, but does not run ({seen['state']}): {seen['reason']}; "
                f"see: sdfleet logs {host} {service}, sdfleet doctor {host}"
            )
    return f"{app} is still on {release}"


def history(remote: Remote) -> dict[str, dict[str, str]]:
    """By application, the release that serves now and the text of its unit. Raises HostError."""
    script = 'for f in "$1"/*/history.json; do [ ! -f "$f" ] || { printf "%s\\0" "$f"; cat "$f"; printf "\\0"; }; done'
    answer = remote.run(["sh", "-c", script, "sdfleet", str(remote.host.paths.root / "apps")])
    fields = answer.out.split("\0")[:-1]
    found = {}
    for place, text in zip(fields[::2], fields[1::2], strict=True):
        served: list[dict[str, Any]] = json.loads(text)["served"]
        if served:
            found[place.split("/")[-2]] = {"release": served[-1]["release"], "text": served[-1]["text"]}
    return found
