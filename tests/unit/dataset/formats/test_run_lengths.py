"""Masks in run lengths. The packed texts were written by pycocotools 2.0.11."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visionyard.dataset.formats.joined_parts import join_parts
from visionyard.dataset.formats.run_lengths import MaskReader, NotMask

BLOB = ["000000000", "001100110", "011111110", "010001110", "011111100", "000110000", "000000001"]
BLOB_PACKED = "933ONO21N02ON121010O6N"
FRAME_PACKED = (  # 300 x 40: columns 5 to 289, rows 3 to 36, without columns 100 to 199 of rows 10 to 19
    "[6R16" + "0" * 186 + "UO4:" + "LF4:" * 98 + "La0" + "0" * 178 + "]<"
)


def runs_of(mask):
    """The run lengths of a mask UINT8 [height, width], counted one by one."""
    runs, value = [0], 0
    for pixel in mask.flatten(order="F").tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def drawn(outline, shape):
    """The pixels whose middles lie within the outlines."""
    drawn = np.zeros(shape, bool)
    for y in range(shape[0]):
        for x in range(shape[1]):
            drawn[y, x] = any(cv2.pointPolygonTest(part.astype(np.float32), (x + 0.5, y + 0.5), False) >= 0 for part in outline.parts)
    return drawn


def test_a_packed_text_is_read_as_the_list_that_it_stands_for():
    mask = np.array([list(map(int, row)) for row in BLOB], np.uint8)
    packed = MaskReader().outline({"size": [7, 9], "counts": BLOB_PACKED})
    listed = MaskReader().outline({"size": [7, 9], "counts": runs_of(mask)})
    assert packed.box == listed.box == (1, 1, 9, 7)
    assert [part.tolist() for part in packed.parts] == [part.tolist() for part in listed.parts]
    assert (drawn(packed, mask.shape) >= mask).all()


@pytest.mark.parametrize("left", [0, 5])
def test_an_outline_goes_along_the_edges_of_pixels(left):
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, left : left + 7] = 1
    outline = MaskReader().outline({"size": [20, 30], "counts": runs_of(mask)})
    assert outline.box == (left, 4, left + 7, 9)
    assert {tuple(corner) for corner in outline.parts[0]} == {(left, 4), (left + 7, 4), (left + 7, 9), (left, 9)}
    assert not outline.holes


@pytest.mark.parametrize("size", [[1, 1], [1, 9], [9, 1]])
def test_a_mask_of_one_pixel_is_a_square(size):
    outline = MaskReader().outline({"size": size, "counts": [0, 1]})
    assert sorted(map(tuple, outline.parts[0])) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_parts_and_holes():
    mask = np.zeros((20, 40), np.uint8)
    mask[2:12, 2:12] = 1
    mask[4:10, 4:10] = 0
    mask[6:8, 6:8] = 1  # an island in the hole
    mask[2:12, 20:30] = 1
    outline = MaskReader().outline({"size": [20, 40], "counts": runs_of(mask)})
    assert len(outline.parts) == 2
    assert outline.holes
    mask[2:12, 2:12] = 1
    assert not MaskReader().outline({"size": [20, 40], "counts": runs_of(mask)}).holes


BAD = {
    "no size": {"counts": [1, 1]},
    "a size of words": {"size": ["1", "2"], "counts": [1, 1]},
    "no area": {"size": [0, 5], "counts": [0]},
    "negative": {"size": [-3, -5], "counts": [0, 15]},
    "too large": {"size": [1 << 17, 5], "counts": [0, 5]},
    "no runs": {"size": [5, 5]},
    "no list": {"size": [5, 5], "counts": {"a": 1}},
    "fractions": {"size": [5, 5], "counts": [0, 1.5]},
    "beyond 64 bits": {"size": [5, 5], "counts": [0, 1 << 70]},
    "a sum beyond 64 bits": {"size": [5, 5], "counts": [(1 << 63) - 1] * 4},
    "other characters": {"size": [5, 5], "counts": "0ü"},
    "characters below": {"size": [5, 5], "counts": "0!"},
    "characters above": {"size": [5, 5], "counts": "0z"},
    "an end in a number": {"size": [5, 5], "counts": "0P"},
    "a number without end": {"size": [5, 5], "counts": "o" * 1000 + "0"},
    "an empty text": {"size": [5, 5], "counts": ""},
    "more than the picture": {"size": [5, 5], "counts": "0Y1"},
    "nothing": {"size": [5, 5], "counts": [25]},
    "runs of nothing": {"size": [5, 5], "counts": [3, 0, 22, 0]},
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_mask_is_refused(case):
    with pytest.raises(NotMask):
        MaskReader().outline(BAD[case])


@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1)))
@settings(max_examples=50, deadline=None)
def test_an_outline_holds_every_pixel_and_reaches_no_further(mask):
    written = {"size": list(mask.shape), "counts": runs_of(mask)}
    if not mask.any():
        with pytest.raises(NotMask):
            MaskReader().outline(written)
        return
    outline = MaskReader().outline(written)
    y, x = np.nonzero(mask)
    assert outline.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
    corners = np.concatenate(outline.parts)
    assert (*corners.min(axis=0), *corners.max(axis=0)) == outline.box
    assert (drawn(outline, mask.shape) >= mask.astype(bool)).all()
    assert len(join_parts(outline.parts)) >= len(corners)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=40), st.integers(1, 70), st.integers(1, 70))
@settings(max_examples=100, deadline=None)
def test_fuzz_packed_texts(counts, height, width):
    try:
        outline = MaskReader().outline({"size": [height, width], "counts": counts})
    except NotMask:
        return
    left, top, right, bottom = outline.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
