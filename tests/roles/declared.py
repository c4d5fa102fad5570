"""What a role declares for a host, without one: names of operations and the commands that each would run."""

from collections.abc import Callable, Mapping
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.config import Config
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state


def declared(declare: Callable[[], object], facts: Mapping[Any, Any] | None = None) -> dict[str, list[str]]:
    """Operations that `declare` makes, in order -> their commands; what none changes has none.

    + facts: answers to the facts that are asked for, by their class
    """
    inventory = Inventory(([("@local", {"origin": {"by": "me@here"}})], {}))
    state = State(inventory, Config())
    state.current_stage = StateStage.Prepare
    [host] = inventory
    host.get_fact = lambda fact, **_: (facts or {})[fact]  # type: ignore[method-assign,assignment]
    found: dict[str, list[str]] = {}
    with (
        ctx_state.use(state),
        ctx_inventory.use(inventory),
        ctx_config.use(state.config.copy()),
        ctx_host.use(host),
    ):
        declare()
        for key, data in state.ops[host].items():
            [name] = state.get_op_meta(key).names
            found[name] = [_text(command) for command in data.command_generator()]
    return found


def _text(command: object) -> str:
    return command.get_raw_value() if isinstance(command, StringCommand) else repr(command)
