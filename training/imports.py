"""Importing less: what torch, diffusers and PEFT load beside what a run uses costs seconds of every start."""

import gc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from training import standin

COMPILER = "torch._dynamo"
ATTRIBUTE = "_dynamo"
ALONE = f"{COMPILER}._trace_wrapped_higher_order_op"
"""The part that transformers imports for its attention masks; it needs no other."""
HIDDEN = ("scipy",)
"""Packages that diffusers and transformers import if they are there, for object detection and the like."""

HOLDERS = frozenset({"diffusers", "peft", "accelerate"})
"""Packages that import names of transformers."""

LIBRARIES = ("diffusers.models.unets.unet_2d_condition", "peft.mapping", "diffusers.optimization")


class _Parts:
    """Finds parts of the compiler: the stand-in gives way first."""

    def __init__(self, late: "_Late") -> None:
        self._late = late

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """The real place of a part."""
        if not name.startswith(f"{COMPILER}."):
            return None
        if name == ALONE:
            return PathFinder.find_spec(name, [f"{folder}/_dynamo" for folder in sys.modules["torch"].__path__])
        self._late.leave()
        return importlib.util.find_spec(name)


class _Late(ModuleType):
    """Stands in for torch's compiler, and gives way to it as soon as anything but a mark is asked for.

    torch's optimisers and diffusers import all of the compiler for these marks, which mean nothing while nothing is
    compiled.
    """

    def __init__(self) -> None:
        super().__init__(COMPILER)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.leave()
        return getattr(importlib.import_module(COMPILER), name)

    def enter(self) -> None:
        """Stand in."""
        self._parts = _Parts(self)
        sys.modules[COMPILER] = self
        setattr(sys.modules["torch"], ATTRIBUTE, self)
        sys.meta_path.insert(0, self._parts)

    def leave(self) -> None:
        """Give way."""
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
            delattr(sys.modules["torch"], ATTRIBUTE)
            sys.meta_path.remove(self._parts)

    @staticmethod
    def disable(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
        """Marks a function that is never compiled."""
        return _itself if fn is None else fn

    @staticmethod
    def allow_in_graph(fn: Any) -> Any:
        """Marks a function that may stand in a compiled graph."""
        return fn

    assume_constant_result = allow_in_graph

    @staticmethod
    def graph_break(*_: Any, **__: Any) -> None:
        """Marks where a compiled graph ends."""


def _itself(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn


@contextmanager
def without_compiler() -> Iterator[None]:
    """Meanwhile torch's compiler is loaded only if something really asks for it."""
    import torch  # noqa: F401 - what it loads of itself comes first

    late = _Late()
    if COMPILER not in sys.modules:
        late.enter()
    try:
        yield
    finally:
        late.leave()


@contextmanager
def lean() -> Iterator[None]:
    """Meanwhile imports leave out what would only be tried, and nobody looks for garbage among them."""
    hidden = [name for name in HIDDEN if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        for name in hidden:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]


def import_libraries(text_encoder: bool) -> None:
    """Import what every run uses of diffusers and PEFT.

    `text_encoder` says that PEFT will adapt a text encoder, a model of transformers, and not the UNet alone.
    """
    if text_encoder:
        with lean():
            _import(LIBRARIES)
    else:
        import_beside_standin(*LIBRARIES)
    # All of it stays: the collector need not look at it again.
    gc.freeze()


def import_beside_standin(*names: str) -> None:
    """Import modules of diffusers and PEFT with a stand-in for transformers, or with the real one if that fails.

    A later release may make more of transformers than comparisons. What holds parts of the stand-in is loaded anew.
    """
    before = set(sys.modules)
    with lean():
        try:
            with standin.for_transformers():
                _import(names)
        except Exception:
            for name in sys.modules.keys() - before:
                if name.partition(".")[0] in HOLDERS:
                    del sys.modules[name]
            _import(names)


def _import(names: Iterable[str]) -> None:
    for name in names:
        importlib.import_module(name)
