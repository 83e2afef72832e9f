"""A JPEG that is called plain is one that Pillow opens, upright, and that has one scan."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from visionyard.dataset.images import ImageProblem, _decode_jpeg, _pillow_reads
from visionyard.dataset.jpeg_head import is_plain

PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def jpeg(**words):
    out = io.BytesIO()
    Image.fromarray(PICTURE).convert(words.pop("mode", "RGB")).save(out, "JPEG", **words)
    return out.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


PLAIN = {
    "Pillow": jpeg(),
    "grey": jpeg(mode="L"),
    "OpenCV": cv2.imencode(".jpg", PICTURE)[1].tobytes(),
    "restarts": cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_RST_INTERVAL, 4])[1].tobytes(),
    "comment": jpeg(comment=b"hello"),
}
OTHERS = {
    "progressive": jpeg(progressive=True),
    "CMYK": jpeg(mode="CMYK"),
    "EXIF": rotated(),
    "profile": jpeg(icc_profile=b"x" * 200),
    "nothing": b"\xff\xd8\xff",
    "a cut head": jpeg()[:100],
}


@pytest.mark.parametrize("name", PLAIN)
def test_most_jpegs_are_plain(name):
    assert is_plain(PLAIN[name])


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_plain(name):
    assert not is_plain(OTHERS[name])


def holds(data):
    """What is said of a plain JPEG holds where it can be decoded at all."""
    if not is_plain(data):
        return
    try:
        _decode_jpeg(data, 10**8)
    except ImageProblem:
        return
    assert _pillow_reads(data) == 1


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(PLAIN)), st.lists(st.tuples(st.integers(2, 700), st.integers(0, 255)), min_size=1, max_size=3), st.booleans())
def test_a_damaged_head_is_plain_only_where_pillow_still_reads_it(name, damage, inserted):
    data = bytearray(PLAIN[name])
    for at, value in damage:
        if inserted:
            data.insert(at, value)
        else:
            data[at % len(data)] = value
    holds(bytes(data))


def test_real_images(test_data: Path):
    files = [path for path in sorted(test_data.rglob("*.jp*g")) if path.stat().st_size < 4 << 20]
    assert len(files) > 100
    for path in files[:: max(1, len(files) // 1500)]:
        data = path.read_bytes()
        if data.startswith(b"\xff\xd8\xff"):
            holds(data)
