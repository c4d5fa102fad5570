"""What sdfleet-fetch says of files that are no models."""

import json
import struct

import pytest

from tests.roles.models.conftest import Fetcher, tensors, wanted
from tests.roles.models.origin import Origin


def tensor(start: int, stop: int, shape: list[int], dtype: str = "F16") -> dict[str, object]:
    """One header entry."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


GOOD = {"__metadata__": {"a": "b"}, "x": tensor(0, 8, [2, 2]), "y": tensor(8, 10, []), "z": tensor(10, 10, [0, 3])}
BAD = {
    "too short": (b"abc", "it is too short to have a header"),
    "length": (struct.pack("<Q", 10**12) + b"{}", "its header is said to have 1000000000000 bytes"),
    "no json": (tensors(b"{nonsense"), "its header is not JSON"),
    "list": (tensors([1]), "its header is not a JSON object"),
    "overlap": (tensors({"x": tensor(0, 8, [4]), "y": tensor(4, 12, [4])}, bytes(12)), "a gap or an overlap"),
    "gap": (tensors({"x": tensor(0, 8, [4]), "y": tensor(10, 18, [4])}, bytes(18)), "a gap or an overlap"),
    "shape": (tensors({"x": tensor(0, 8, [5])}, bytes(8)), "tensor x has 8 bytes, which do not fit F16 [5]"),
    "dtype": (tensors({"x": tensor(0, 8, [4], "F17")}, bytes(8)), "no valid dtype, shape and data_offsets"),
    "negative": (tensors({"x": tensor(0, 8, [-2, -2])}, bytes(8)), "no valid dtype, shape and data_offsets"),
    "before": (tensors({"x": tensor(-8, 0, [4])}), "do not fit"),
    "fraction": (tensors({"x": {**tensor(0, 8, [4]), "shape": [4.0]}}, bytes(8)), "no valid dtype, shape"),
    "twice": (tensors(b'{"x":1,"x":' + json.dumps(tensor(0, 8, [4])).encode() + b"}", bytes(8)), "two entries of one"),
    "metadata": (tensors({"__metadata__": {"a": 1}, "x": tensor(0, 8, [4])}, bytes(8)), "is not text by name"),
    "no text": (tensors(bytes([123, 34, 255, 34, 58, 49, 125])), "its header is not JSON"),
    "trailing": (tensors({"x": tensor(0, 8, [4])}, bytes(9)), "its tensors take 8 bytes, but the file has 9"),
    "cut": (tensors({"x": tensor(0, 8, [4])}, bytes(7)), "its tensors take 8 bytes, but the file has 7"),
}


def test_a_good_file_is_taken(fetcher: Fetcher, origin: Origin) -> None:
    data = tensors(GOOD, bytes(10))
    done = fetcher.run({**wanted(data, origin.serve("/model", data)), "suffix": ".safetensors"})
    assert (done.status, done.errors) == (0, [])


@pytest.mark.parametrize("name", BAD)
def test_a_broken_file_gets_no_name(name: str, fetcher: Fetcher, origin: Origin) -> None:
    data, reason = BAD[name]
    done = fetcher.run({**wanted(data, origin.serve("/model", data)), "suffix": ".safetensors"})
    assert done.status == 1
    assert done.errors[0].startswith("sd15: is not a safetensors file: ")
    assert reason in done.errors[0]
    assert fetcher.final_names() == []


@pytest.mark.parametrize("data", [tensors(GOOD, bytes(10))])
def test_the_reference_implementation_agrees(data: bytes) -> None:
    safetensors = pytest.importorskip("safetensors")
    assert {name for name, _ in safetensors.deserialize(data)} == {"x", "y", "z"}
    for bad, _ in BAD.values():
        with pytest.raises(safetensors.SafetensorError):
            safetensors.deserialize(bad)
