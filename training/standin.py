"""Stands in for transformers while diffusers and PEFT are imported.

They want its classes only to ask whether a model is one of them, and importing it takes over a second and a look at
every file of its hundreds of models: many seconds on a disk behind a network. Where PEFT adapts a UNet alone, no model
is of these classes, and a class without instances answers as well.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType
from typing import Any

NAME = "transformers"


class _Names(ModuleType):
    """A module that has every public name: a class of its own, from which others may inherit."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(cls: type, *_: Any, **__: Any) -> Any:
            if cls is made:
                raise RuntimeError(f"{self.__name__}.{name} is needed, but a UNet alone is adapted: {__name__} errs")
            return object.__new__(cls)

        made = type(name, (), {"__new__": refuse})
        setattr(self, name, made)
        return made


class _Finder:
    """Finds and loads the package and whatever is asked for below it."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """The place of a module of the package."""
        return ModuleSpec(name, self, is_package=True) if _is_part(name) else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module that stands in."""
        return _Names(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """The version is the real one: PEFT and diffusers decide by it."""
        module.__dict__["__version__"] = version(NAME)


@contextmanager
def for_transformers() -> Iterator[None]:
    """Meanwhile what is imported of transformers is a stand-in, unless it is loaded already; afterwards it is real.

    PEFT also takes it that transformers has loaded torch's distributed tensors. It is told that there are none, as
    nothing else here needs them and they take half a second.
    """
    import torch.distributed

    if NAME in sys.modules:
        yield
        return
    finder, available = _Finder(), torch.distributed.is_available
    sys.meta_path.insert(0, finder)
    torch.distributed.is_available = lambda: False
    try:
        yield
    finally:
        torch.distributed.is_available = available
        sys.meta_path.remove(finder)
        for name in filter(_is_part, list(sys.modules)):
            del sys.modules[name]


def _is_part(name: str) -> bool:
    return name.partition(".")[0] == NAME
