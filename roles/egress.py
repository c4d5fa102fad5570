"""What a service may reach besides loopback, as systemd's filter of addresses has it."""

import ipaddress
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

ANY = "any"
LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")
"""Link-local addresses, at which clouds serve the machine's credentials."""


def _is_egress(place: str) -> str:
    if place == ANY:
        return place
    try:
        network = ipaddress.ip_network(place)
    except ValueError as error:
        raise ValueError(f'{place!r} is no network; give "any", or networks such as 10.0.0.0/8') from error
    for closed in map(ipaddress.ip_network, LINK_LOCAL):
        if network.version == closed.version and network.overlaps(closed):
            raise ValueError(f'{place} holds {closed}, where clouds hand out credentials; for all others write "any"')
    return place


Egress = Annotated[str, AfterValidator(_is_egress)]
"""A network, or ANY for all but the link-local ones."""


def rules(egress: Sequence[str]) -> dict[str, str]:
    """The settings of a unit that may reach these networks and loopback."""
    if ANY in egress:
        return {"IPAddressDeny": " ".join(LINK_LOCAL)}
    return {"IPAddressDeny": "any", "IPAddressAllow": " ".join(("localhost", *egress))}


def closed(egress: Sequence[str]) -> set[str]:
    """What `systemctl show` tells of IPAddressDeny then, at least."""
    return set(LINK_LOCAL) if ANY in egress else {"0.0.0.0/0", "::/0"}
