"""Inventory for pyinfra's own command line: the hosts of $SDFLEET_FILE, or of fleet.toml in the working directory."""

import os
from pathlib import Path

from inventory.hosts import pyinfra_hosts
from inventory.load import load

_fleet = load(Path(os.environ.get("SDFLEET_FILE", "fleet.toml")))

hosts = pyinfra_hosts(_fleet, _fleet.hosts)
