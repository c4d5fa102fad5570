"""Changes to pyinfra 3.10 that save the controller's CPU, each removable when pyinfra has it. For the engine alone.

None changes what pyinfra does, which tests/deploy/test_pyinfra_patches.py holds against the originals. docs/speed.md
has what each saves, and how to offer it upstream.
"""

import sys
from copy import copy
from functools import cache
from importlib import import_module
from types import FrameType
from typing import Any

# paramiko needs invoke for `Match exec` of an ssh_config alone, and does without where it is not installed. pyinfra
# reads the few lines that inventory.hosts writes, which have no such thing: half of paramiko's import is saved.
sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]

from pyinfra.api.host import HostData  # noqa: E402
from pyinfra.api.state import State  # noqa: E402
from pyinfra.api.util import PYINFRA_INSTALL_DIR  # noqa: E402
from pyinfra.connectors.local import LocalConnector  # noqa: E402
from pyinfra.connectors.ssh import SSHConnector  # noqa: E402


def operation_order(state: State) -> list[int]:
    """Line numbers of the calls that led to an operation, outermost first, pyinfra's own left out.

    pyinfra's get_operation_order_from_stack asks `inspect` for the source text of every frame to get at them.
    """
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame:
        frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    names = [frame.f_code.co_filename for frame in frames]
    if state.current_deploy_filename in names:
        frames = frames[names.index(state.current_deploy_filename) :]
    ours = (frame for frame in frames if not frame.f_code.co_filename.startswith(PYINFRA_INSTALL_DIR))
    return [state.current_op_file_number, *(frame.f_lineno for frame in ours)]


def known_connectors() -> dict[str, type]:
    """The two connectors that an inventory of sdfleet names.

    pyinfra's get_all_connectors searches every installed package for entry points and imports all connectors, three
    times for an inventory and twice for each host that is not local.
    """
    return {"ssh": SSHConnector, "local": LocalConnector}


def host_data(data: HostData, key: str) -> Any:
    """A host's datum, from the first layer that has it, as HostData.__getattr__ looks it up.

    pyinfra does so through a generator and an exception for each layer, some fifty times for each operation and fact.
    """
    for layer in data.datas:
        values = layer() if callable(layer) else layer
        if key in values:
            return copy(values[key])
    raise AttributeError(f"Host `{data.host}` has no data `{key}`")


def apply() -> None:
    """Put the changes in force for this process."""
    # By name, as pyinfra.api has functions of the same names as these modules.
    operation, arguments, connectors, inventory = (
        import_module(f"pyinfra.api.{name}") for name in ("operation", "arguments", "connectors", "inventory")
    )
    vars(operation)["get_operation_order_from_stack"] = operation_order
    # Evaluated anew for each operation and fact: some fifty annotations that never change.
    vars(arguments)["all_global_arguments"] = cache(arguments.all_global_arguments)
    vars(connectors)["get_all_connectors"] = vars(inventory)["get_all_connectors"] = known_connectors
    HostData.__getattr__ = host_data  # type: ignore[method-assign]
