"""Masks that are written row by row."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.row_masks import RowMasks, runs_of
from visionyard.dataset.formats.run_lengths import NotMask
from visionyard.dataset.formats.shapes import Shape


@st.composite
def masks(draw):
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    return np.array(draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))).reshape(height, width)


@settings(max_examples=200, deadline=None)
@given(mask=masks(), x=st.integers(-5, 100), y=st.integers(-5, 100))
def test_the_outline_is_the_masks(mask, x, y):
    runs = runs_of(mask)
    assert sum(runs) == mask.size
    assert sum(runs[1::2]) == mask.sum()
    if not mask.any():
        with pytest.raises(NotMask):
            RowMasks().written(3, 1, runs, mask.shape[::-1], (x, y))
        return
    label = RowMasks().written(3, 1, runs, mask.shape[::-1], (x, y))
    rows, columns = np.nonzero(mask)
    assert label.box == (x + columns.min(), y + rows.min(), x + columns.max() + 1, y + rows.max() + 1)
    assert (label.line, label.class_id, label.shape) == (3, 1, Shape.POLYGON)
    # Every pixel of the mask lies in the polygon: its middle does, seen at twice the size.
    corners = (np.reshape(label.points, (-1, 2)) - (x, y)).round().astype(np.int32) * 2
    drawn = np.zeros((2 * mask.shape[0] + 1, 2 * mask.shape[1] + 1), np.uint8)
    cv2.fillPoly(drawn, [corners], 1)
    assert drawn[1::2, 1::2][mask].all()


def test_holes_and_parts_are_told():
    ring = np.ones((5, 5), bool)
    ring[1:4, 1:4] = False
    assert RowMasks().written(0, 0, runs_of(ring), (5, 5), (0, 0)).note is Code.HOLES_FILLED
    parts = np.array([[True, False, False, True]])
    assert RowMasks().written(0, 0, runs_of(parts), (4, 1), (0, 0)).note is Code.PARTS_JOINED


@pytest.mark.parametrize("size", [(0, 5), (-1, 5), (1 << 20, 1 << 20), (3, 3)])
def test_runs_that_do_not_fit_are_refused(size):
    with pytest.raises(NotMask):
        RowMasks().written(0, 0, [0, 25], size, (0, 0))
