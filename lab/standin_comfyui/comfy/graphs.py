"""Checks of a graph before it is queued, with ComfyUI's words, and the keys that its results are kept under."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

Graph = dict[str, dict[str, Any]]
NUMBERS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass
class Verdict:
    """What is wrong with a graph as a whole, the nodes to compute, and what is wrong with nodes."""

    error: dict[str, Any] | None
    outputs: list[str] = field(default_factory=list)
    node_errors: dict[str, Any] = field(default_factory=dict)


def check(graph: Graph, nodes: dict[str, Any]) -> Verdict:
    """Judge a graph; its values are converted to their inputs' types in place."""
    for name, node in graph.items():
        place = f"Node ID '#{name}'"
        if "class_type" not in node:
            return Verdict(
                _error("invalid_prompt", "Cannot execute because a node is missing the class_type property.", place)
            )
        if (kind := node["class_type"]) not in nodes:
            return Verdict(_error("invalid_prompt", f"Cannot execute because node {kind} does not exist.", place))
    wanted = [name for name, node in graph.items() if getattr(nodes[node["class_type"]], "OUTPUT_NODE", False)]
    if not wanted:
        return Verdict(_error("prompt_no_outputs", "Prompt has no outputs"))
    checked: dict[str, list[dict[str, Any]] | None] = {}
    good: list[str] = []
    node_errors: dict[str, Any] = {}
    for name in wanted:
        if _fits(graph, nodes, name, checked):
            good.append(name)
            continue
        for other, errors in checked.items():
            if errors:
                entry = {"errors": errors, "dependent_outputs": [], "class_type": graph[other]["class_type"]}
                node_errors.setdefault(other, entry)["dependent_outputs"].append(name)
    if good:
        return Verdict(None, good, node_errors)
    lines = [f"{error['message']}: {error['details']}" for name in wanted for error in checked[name] or ()]
    said = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(lines))
    return Verdict(said, [], node_errors)


def _fits(graph: Graph, nodes: dict[str, Any], name: str, checked: dict[str, list[dict[str, Any]] | None]) -> bool:
    """Whether a node and all that it needs can be computed; what is wrong with each goes to `checked`, or None."""
    if name in checked:
        return checked[name] is None
    given, kinds = graph[name].get("inputs", {}), nodes[graph[name]["class_type"]].INPUT_TYPES()
    errors: list[dict[str, Any]] = []
    fits = True
    for group in ("required", "optional"):
        for key, wanted in kinds.get(group, {}).items():
            if key not in given:
                if group == "required":
                    errors.append(_error("required_input_missing", "Required input is missing", key, input_name=key))
                continue
            if not isinstance(given[key], list):
                errors += _value_errors(given, key, wanted)
                continue
            source, slot = given[key]
            try:
                found = nodes[graph[source]["class_type"]].RETURN_TYPES[slot]
            except (KeyError, IndexError) as error:
                errors.append(_error("exception_during_validation", "Exception when validating node", str(error)))
                continue
            if found != wanted[0]:
                details = f"{key}, received_type({found}) mismatch input_type({wanted[0]})"
                message = "Return type mismatch between linked nodes"
                errors.append(_error("return_type_mismatch", message, details, input_name=key))
            fits &= _fits(graph, nodes, source, checked)
    checked[name] = errors if errors or not fits else None
    return checked[name] is None


def _value_errors(given: dict[str, Any], key: str, wanted: tuple[Any, ...]) -> list[dict[str, Any]]:
    kind, limits = wanted[0], wanted[1] if len(wanted) > 1 else {}
    about = {"input_name": key, "input_config": [kind, limits], "received_value": given[key]}
    if isinstance(kind, list):
        if given[key] in kind:
            return []
        return [_error("value_not_in_list", "Value not in list", f"{key}: '{given[key]}' not in {kind}", **about)]
    try:
        given[key] = value = NUMBERS.get(kind, lambda same: same)(given[key])
    except (TypeError, ValueError) as error:
        message = f"Failed to convert an input value to a {kind} value"
        return [_error("invalid_input_type", message, f"{key}, {given[key]}, {error}", **about)]
    if "min" in limits and value < limits["min"]:
        message = f"Value {value} smaller than min of {limits['min']}"
        return [_error("value_smaller_than_min", message, key, **about)]
    if "max" in limits and value > limits["max"]:
        return [_error("value_bigger_than_max", f"Value {value} bigger than max of {limits['max']}", key, **about)]
    return []


def _error(kind: str, message: str, details: str = "", **more: Any) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": more}


def key_of(graph: Graph, name: str) -> str:
    """A key that is the same for nodes that compute the same from the same."""
    node = graph[name]
    inputs = {
        key: [key_of(graph, value[0]), value[1]] if isinstance(value, list) else value
        for key, value in node.get("inputs", {}).items()
    }
    return hashlib.sha256(json.dumps([node["class_type"], inputs], sort_keys=True).encode()).hexdigest()
