"""Constants of `sdfleet verify` and its pytest plugin; without pytest, whose import takes half a second."""

from pydantic import TypeAdapter

from inventory.model import HostSettings

ROLE_FILE = "verify.py"
"""The file in a role's folder that holds its checks."""

UNREACHABLE = "unreachable"
"""Outcome of a check whose host could not be reached; the other outcomes are pytest's."""

Hosts = TypeAdapter(dict[str, HostSettings])
"""Settings of the hosts to check, by name, as the plugin receives them."""
