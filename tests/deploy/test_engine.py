"""The engine, in a process of its own: it changes Python's blocking calls for the whole process."""

import json
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
NAMES = """
from deploy import engine
import json
from pyinfra.api.config import Config
from pyinfra.api.deploy import deploy
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
from pyinfra.operations import server

inventory = Inventory((["h1", "h2"], {}))
state = State(inventory, Config())
state.current_stage = StateStage.Prepare

@deploy("WebUI")
def install(release):
    server.shell(name=f"Run release {release}", commands=["true"])

found = {}
with ctx_state.use(state), ctx_inventory.use(inventory), ctx_config.use(state.config.copy()):
    for host, release in zip(inventory, ("old", "new")):
        with ctx_host.use(host):
            install(release)
for host in inventory:
    found[host.name] = [engine.operation_name(state, host, op) for op in state.ops[host]]
print(json.dumps(found))
"""


def test_an_operation_goes_by_its_own_hosts_name() -> None:
    """pyinfra joins the names that one operation has on several hosts."""
    done = subprocess.run([sys.executable, "-c", NAMES], cwd=TREE, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"h1": ["WebUI | Run release old"], "h2": ["WebUI | Run release new"]}
