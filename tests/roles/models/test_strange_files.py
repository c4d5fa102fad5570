"""Files made to keep their reader busy: each is refused in little time and memory, and no other file waits for it."""

import io
import time
import zipfile

import pytest

from roles.models.sources.pasted import kind_of
from tests.roles.models.conftest import Fetcher, model, tensors, wanted
from tests.roles.models.origin import Origin

GOOD = model(1)


def bomb(inside: bytes) -> bytes:
    """A zip archive with a pickle that unpacks to much more."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", inside)
    return packed.getvalue()


def deep(opening: bytes, depth: int) -> bytes:
    """A header of nested values."""
    return tensors(b'{"__metadata__":' + opening * depth + b"}")


def shaped(shape: list[int]) -> dict[str, object]:
    """A header's entry of a tensor."""
    return {"dtype": "U8", "shape": shape, "data_offsets": [0, 1]}


SAFETENSORS = {
    "nested lists": deep(b"[", 200_000),
    "nested objects": deep(b'{"a":', 200_000),
    "a shape of many dimensions": tensors(
        {"x": {"dtype": "U8", "shape": [9] * 2_000_000, "data_offsets": [0, 1]}}, b"x"
    ),
    "huge extents": tensors({"x": {"dtype": "U8", "shape": [10**4000, 10**4000], "data_offsets": [0, 1]}}, b"x"),
}
PICKLES = {
    "a string said to be endless": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
}


@pytest.mark.parametrize("name", SAFETENSORS)
def test_a_strange_header_is_refused_and_the_others_come(name: str, fetcher: Fetcher, origin: Origin) -> None:
    refused(SAFETENSORS[name], ".safetensors", fetcher, origin)


@pytest.mark.parametrize("name", PICKLES)
def test_a_strange_pickle_is_refused_and_the_others_come(name: str, fetcher: Fetcher, origin: Origin) -> None:
    refused(PICKLES[name], ".ckpt", fetcher, origin)


@pytest.mark.slow
def test_a_pickle_that_unpacks_for_ever_is_refused_and_the_others_come(fetcher: Fetcher, origin: Origin) -> None:
    refused(bomb(b"\x80\x04" + b"N0" * 60_000_000 + b"N."), ".ckpt", fetcher, origin)


def refused(data: bytes, suffix: str, fetcher: Fetcher, origin: Origin) -> None:
    """Fetch a strange file beside a good one."""
    began = time.monotonic()
    strange = {**wanted(data, origin.serve("/strange", data), model="strange"), "suffix": suffix}
    good = {**wanted(GOOD, origin.serve("/good", GOOD), model="good"), "suffix": ".safetensors"}
    done = fetcher.run(strange, good, links={str(fetcher.store.parent / "good.safetensors"): good["sha256"]})
    assert done.status == 1
    [sentence] = done.errors
    assert sentence.startswith("strange: is not "), sentence
    assert fetcher.final_names() == [fetcher.blob(GOOD)]
    assert (fetcher.store.parent / "good.safetensors").read_bytes() == GOOD
    assert time.monotonic() - began < 100


@pytest.mark.parametrize("header", [b"[" * 100_000, b"[1, 2]", b"7"])
def test_the_kind_of_a_strange_file_is_unknown(header: bytes) -> None:
    assert kind_of(tensors(header)) is None
