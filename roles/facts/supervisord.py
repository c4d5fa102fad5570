"""Whether supervisord runs the services of a host without systemd."""

import shlex
from collections.abc import Iterable

from pyinfra.api.facts import FactBase

from roles.paths import Paths
from roles.programs import command


class Serves(FactBase[bool]):
    """Whether it answers; a socket alone may be left by one that was killed, or by a container that was stopped."""

    default = bool

    def command(self, paths: Paths) -> str:
        ask = shlex.join(command(paths.onhost, "supervisor_manager", "serves", paths.supervisor))
        return f"[ ! -e {shlex.quote(str(paths.onhost))} ] || {ask}"

    def process(self, output: Iterable[str]) -> bool:
        return list(output) == ["yes"]
