"""Which nodes there are: those of the stand-in, and those of custom_nodes."""

import importlib.util
import logging
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from .nodes import BUILT_IN, Node
from .studio import Studio


def load_nodes(studio: Studio, custom: list[Path]) -> dict[str, Any]:
    """All nodes by name: those above, and those of the modules in the folders `custom`. A broken module is told of.

    Raises FileNotFoundError if one of these folders does not exist.
    """
    Node.draw_with(studio)
    found: dict[str, Any] = {node.__name__: node for node in BUILT_IN}
    for folder in custom:
        for place in sorted(folder.iterdir()):
            if place.name == "__pycache__" or place.name.endswith(".disabled"):
                continue
            if place.is_dir() or place.suffix == ".py":
                made = _custom(place)
                logging.info("   0.0 seconds%s: %s", " (IMPORT FAILED)" if made is None else "", place)
                found |= made or {}
    return found


def _custom(place: Path) -> dict[str, Any] | None:
    """The nodes of a module; None if it cannot be loaded."""
    name = re.sub(r"\W", "_", str(place))
    file = place / "__init__.py" if place.is_dir() else place
    try:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        found: dict[str, Any] = module.NODE_CLASS_MAPPINGS
    except Exception as error:
        logging.warning("%s", traceback.format_exc())
        logging.warning("Cannot import %s module for custom nodes: %s", place, error)
        return None
    return found


def described(name: str, node: Any) -> dict[str, Any]:
    """A node as /object_info tells of it."""
    inputs, outputs = node.INPUT_TYPES(), node.RETURN_TYPES
    return {
        "input": inputs,
        "input_order": {group: list(names) for group, names in inputs.items()},
        "output": outputs,
        "output_is_list": [False] * len(outputs),
        "output_name": getattr(node, "RETURN_NAMES", outputs),
        "name": name,
        "display_name": name,
        "description": "",
        "python_module": "nodes" if issubclass(node, Node) else "custom_nodes",
        "category": getattr(node, "CATEGORY", "sd"),
        "output_node": bool(getattr(node, "OUTPUT_NODE", False)),
    }
