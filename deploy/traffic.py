"""What a run asks of each host: commands and uploads, each of which waits for the network once or more."""

from collections.abc import Callable
from typing import Any

from pyinfra.api.host import Host


def count(host: Host) -> None:
    """Count from now on what is sent to `host`; `round_trips` tells how many it were."""
    connector = host.connector
    host.connector_data["round_trips"] = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def one(*arguments: Any, **options: Any) -> Any:
            add(host)
            return call(*arguments, **options)

        return one

    # On this one object: pyinfra's classes stay as they are.
    vars(connector).update(run_shell_command=counted(connector.run_shell_command), put_file=counted(connector.put_file))


def add(host: Host) -> None:
    """Count one more, for what does not go through pyinfra's connector."""
    host.connector_data["round_trips"] += 1


def round_trips(host: Host) -> int:
    """Commands and uploads since `count`; 0 for a host that was never connected."""
    return int(host.connector_data.get("round_trips", 0))
