"""Single images from strangers: what is kept of them, and that nothing of them can harm whoever decodes them later."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from visionyard.dataset.findings import Code
from visionyard.dataset.images import ImageProblem, check_image

LIMIT = 1 << 26


def chunk(kind, payload):
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def animation(*rows, side=16):
    """An animated PNG, a frame for each kind of row."""
    chunks = [chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), chunk(b"acTL", struct.pack(">II", len(rows), 0))]
    for number, row in enumerate(rows):
        chunks.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, side, side, 0, 0, 1, 1, 0, 0)))
        pixels = zlib.compress(row * side)
        chunks.append(chunk(b"fdAT", struct.pack(">I", number) + pixels) if number else chunk(b"IDAT", pixels))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize("filter_", [0, 7])
def test_of_an_animation_the_still_picture_is_stored(filter_):
    """A row filter that does not exist, in a later frame, ends the process that decodes it with OpenCV 5.0: the training worker too (found by fuzzing)."""
    image = check_image(animation(b"\0" + b"\x7f" * 48, bytes([filter_]) + b"\xff" * 48), LIMIT)
    assert [code for code, _ in image.notes] == [Code.IMAGE_NORMALISED]
    assert not any(kind in image.data for kind in (b"acTL", b"fcTL", b"fdAT"))
    assert (cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR) == 0x7F).all()
    assert check_image(image.data, LIMIT).notes == ()


def test_an_animation_whose_first_picture_is_damaged_is_refused():
    with pytest.raises(ImageProblem):
        check_image(animation(b"\7" + b"\x7f" * 48, b"\0" + b"\xff" * 48), LIMIT)


def test_what_follows_the_end_of_an_animation_is_no_frame_of_it():
    """What is stored must be what was decoded (found by fuzzing)."""
    whole = animation(b"\0" + b"\x7f" * 48, b"\0" + b"\xff" * 48)
    first, end = whole.index(b"fcTL") - 4, whole.index(b"fdAT") - 4
    unlisted = whole[:first] + whole[first + 38 :]  # the picture itself is no frame
    end -= 38
    data = unlisted[:end] + chunk(b"IEND", b"") + unlisted[end:-30] + chunk(b"fdAT", bytes(4))
    image = check_image(data, LIMIT)
    assert (cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR) == 0x7F).all()
    assert check_image(image.data, LIMIT).sha256 == image.sha256
