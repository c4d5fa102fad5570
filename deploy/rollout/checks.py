"""One host's way through the gates: what draws and what trains, each measured on the first hosts that have it."""

import contextlib
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from deploy.connection.ssh import HostError, Remote
from deploy.console import out, styled
from deploy.rollout import cost, gates, trial
from deploy.rollout.gates import COST, Failure, Seen
from inventory.model import HostSettings
from inventory.rollout import Rollout


@dataclass
class Checks:
    """The gates of a rollout."""

    settings: Rollout
    compared: set[str] = field(default_factory=set)
    """Applications of which the old and the new release were measured on one host; others follow it."""

    def unmeasured(self, host: HostSettings) -> list[str]:
        """What draws on a host and is to be measured there, before it is changed and after."""
        return [app for app in host.drawing if app not in self.compared]

    def failure(self, remote: Remote, before: Seen) -> Failure | None:
        """The gate that a host did not pass, if any. Raises HostError.

        + before: what was seen before it was changed
        """
        try:
            return self._failure(remote, before)
        except HostError:
            raise
        except Exception as error:
            # No error may end the rollout here: the host would stay on a release that has not passed.
            return gates.unjudged(remote.name, error)

    def _failure(self, remote: Remote, before: Seen) -> Failure | None:
        failure = self._drawing(remote, before) if remote.host.drawing else None
        old = before.get("releases", {}).get("trainer")
        if failure or not old or "trainer" in self.compared or not remote.host.has("trainer"):
            return failure
        compared, failure = trial.compare(remote, old, self.settings)
        self.compared |= {"trainer"} if compared else set()
        return failure

    def _drawing(self, remote: Remote, before: Seen) -> Failure | None:
        """The gate that what draws on a host did not pass, if any."""
        host = remote.host
        measured = [app for app in host.drawing if cost.of_pictures(gates.of_app(before, app))]
        after = gates.look(remote, self.settings, self.settings.stable_seconds, measured)
        failure = gates.judge_host(host, before, after, self.settings)
        for _ in range(cost.TURNS - 1):
            if failure is None or failure.gate != COST:
                break
            out.print(styled("[bold]{}[/] {}; measuring again", remote.name, failure.said))
            time.sleep(cost.TURN_PAUSE_SECONDS)
            after = _least(after, gates.look(remote, self.settings, 0, measured), measured)
            failure = gates.judge_host(host, before, after, self.settings)
        self.compared |= set(self.note(remote, after))
        return failure

    def note(self, remote: Remote, seen: Seen) -> list[str]:
        """Keep in the histories of a host what was measured of what serves now. Returns the applications.

        Those that were not measured are named, with the reason.
        """
        for app in remote.host.drawing:
            if why := gates.of_app(seen, app).get("unmeasured"):
                out.print(styled("[yellow]{}[/] what a picture costs {} was not measured: {}", remote.name, app, why))
        found = {app: cost.of_pictures(gates.of_app(seen, app)) for app in remote.host.drawing}
        measured = {app: figures for app, figures in found.items() if figures}
        for app, figures in measured.items():
            with contextlib.suppress(HostError):  # a history without figures is no reason to go back
                cost.note(remote, app, figures)
        return list(measured)

    def old(self, remote: Remote, before: Seen) -> str:
        """What a picture costs the old release, to which a host went back because the new one cost too much.

        Raises HostError.
        """
        again = gates.look(remote, self.settings, 0, list(remote.host.drawing))
        told = []
        for app in remote.host.drawing:
            first, now = (cost.of_pictures(gates.of_app(seen, app)) for seen in (before, again))
            if first and now:
                more = cost.excess("the picture", first, now, self.settings, gates.SLACK)
                end = " as well now: something else uses the host; run the update again" if more else " again"
                told.append(f"{cost.told(now, app)} with the old release of {app}{end}")
        return "; ".join(told)


def _least(seen: Seen, again: Seen, apps: Collection[str]) -> Seen:
    """What was seen last, with the least of what was measured in both turns."""
    merged = cost.least_of_turns(gates.of_app(seen, "webui"), again) if "webui" in apps else again
    if gates.COMFYUI in apps:
        merged = {**merged, gates.COMFYUI: cost.least_of_turns(seen[gates.COMFYUI], again[gates.COMFYUI])}
    return merged
