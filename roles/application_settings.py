"""Settings that all applications with releases have, each described once."""

from typing import Annotated, Literal

from pydantic import Field

from roles.names import Commit

PinnedCommit = Annotated[
    Commit | None, Field(description="Commit that the ref stands for; unset means what fleet.lock says.")
]
PythonVersion = Annotated[str, Field(pattern=r"^3\.\d+$", description="Python minor version of the environment.")]
ShippedTorch = Annotated[
    Literal["auto", "cu128", "cu126"],
    Field(
        description="Which shipped lock: auto chooses by card and driver; cu128 has code for V100 to RTX 50, cu126 for "
        "GTX 900 to H100."
    ),
]
Device = Literal["auto", "cpu", "cuda"]
LoopbackPort = Annotated[int, Field(ge=1024, le=65535)]
KeptReleases = Annotated[int, Field(ge=1, description="How many releases to keep, the current one included.")]
