"""What `sdfleet verify` and its pytest plugin agree on; without pytest, whose import takes half a second."""

from pydantic import TypeAdapter

from inventory.model import HostSettings

ROLE_FILE = "verify.py"
"""The file of a role's folder that holds its checks."""

UNREACHABLE = "unreachable"
"""Outcome of a check whose host was lost; the others are pytest's."""

Hosts = TypeAdapter(dict[str, HostSettings])
"""Settings of the hosts to check, by name, as they travel to the plugin."""
