"""The changes to pyinfra compute what pyinfra's own functions compute."""

import json
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]

PROGRAM = """
import json
from importlib import import_module
import pyinfra
from deploy import pyinfra_patches as ours
from pyinfra.api.config import Config
from pyinfra.api.host import HostData
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State

theirs_order = import_module("pyinfra.api.util").get_operation_order_from_stack
theirs_data = HostData.__getattr__
theirs_arguments = import_module("pyinfra.api.arguments").all_global_arguments()
theirs_connectors = import_module("pyinfra.api.connectors").get_all_connectors()
ours.apply()
pyinfra.is_cli = True
state = State(Inventory(([("one", {"a": 1, "shared": [1]}), ("@local", {})], {"a": 2, "b": 3})), Config())
host = state.inventory.get_host("one")

def orders():
    return [look(state) for look in (theirs_order, ours.operation_order)]

def data(look, key):
    try:
        return look(host.data, key)
    except AttributeError as error:
        return f"AttributeError {error}"

def named():
    state.current_deploy_filename = __file__
    try:
        return orders()
    finally:
        state.current_deploy_filename = None

host.data.over = "set"
arguments = import_module("pyinfra.api.arguments").all_global_arguments()
keys = ("a", "b", "over", "shared", "none", "_sudo")
print(json.dumps({
    "order": orders(),
    "order of a named file": named(),
    "data": [[data(look, key) for key in keys] for look in (theirs_data, ours.host_data)],
    "arguments": [len(theirs_arguments), len(arguments), arguments == theirs_arguments],
    "connectors": all(theirs_connectors[name] is cls for name, cls in ours.known_connectors().items()),
    "local": type(state.inventory.get_host("@local").connector).__name__,
    "in force": import_module("pyinfra.api.operation").get_operation_order_from_stack is ours.operation_order,
}))
"""


def test_they_compute_the_same(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)], env={"PYTHONPATH": str(TREE)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in ("order", "order of a named file", "data"):
        assert found[name][0] == found[name][1], name
    assert found["data"][0] == [1, 3, "set", [1], "AttributeError Host `one` has no data `none`", found["data"][0][5]]
    assert found["arguments"][0] == found["arguments"][1] > 20 and found["arguments"][2]
    assert found["connectors"] and found["local"] == "LocalConnector" and found["in force"]
