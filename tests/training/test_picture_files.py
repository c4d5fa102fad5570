"""Pictures of all kinds are read as a viewer shows them."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.captioning.captioner import load_on_white
from training.data.pictures import find_pictures
from training.sections.data import Captions, Data


@pytest.mark.parametrize(
    ("mode", "ending", "full"), [("I;16", "png", 65535), ("I", "tiff", 65535), ("I", "tiff", 255), ("F", "tiff", 1.0)]
)
def test_a_picture_with_many_bits_keeps_its_shades(tmp_path: Path, mode: str, ending: str, full: float) -> None:
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    file = tmp_path / f"1.{ending}"
    Image.fromarray((np.array([[0.0, 0.25], [0.5, 1.0]]) * full).astype(kind)).save(file)
    shown = load_on_white(file)
    assert shown.mode == "RGB"
    np.testing.assert_allclose(np.asarray(shown)[..., 1], [[0, 64], [128, 255]], atol=1)


SHORT, TEXT, BYTES = 3, 2, 7
"""Types of EXIF."""


@pytest.mark.parametrize(
    ("kind", "given", "turned"),
    [
        (SHORT, b"\6\0", True),
        (SHORT, b"\x08\0", True),
        (SHORT, b"\3\0", False),
        (SHORT, b"\0\0", False),
        (SHORT, b"\x09\0", False),
        (TEXT, b"6\0", False),
        (BYTES, b"66", False),
    ],
)
def test_the_exif_rotation_is_believed_where_it_means_something(
    tmp_path: Path, kind: int, given: bytes, turned: bool
) -> None:
    file = tmp_path / "1_cat/1.jpg"
    file.parent.mkdir()
    count = 1 if kind == SHORT else 2
    odd, entry = struct.pack("<HHI4s", 0x0100, TEXT, 4, b"odd\0"), struct.pack("<HHI4s", 0x0112, kind, count, given)
    exif = b"Exif\0\0II*\0\x08\0\0\0\2\0" + odd + entry + bytes(4)
    Image.new("RGB", (96, 48)).save(file, exif=exif)
    [found] = find_pictures(Data(folder=tmp_path, captions=Captions(required=False)))
    assert found.size == load_on_white(file).size == ((48, 96) if turned else (96, 48))
