"""Several parts as one polygon."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visionyard.dataset.formats.joined_parts import join_parts

SQUARE = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)


def moved(corners, x):
    return corners + np.array([x, 0])


def area(corners):
    """With its sign, by the shoelace formula."""
    x, y = corners[:, 0], corners[:, 1]
    return float((np.roll(x, 1) * y - x * np.roll(y, 1)).sum() / 2)


def test_one_part_stays_as_it_is():
    assert join_parts([SQUARE]) is SQUARE


def test_two_parts_are_joined_where_they_are_next_to_each_other():
    joined = join_parts([SQUARE, moved(SQUARE, 10)])
    assert joined.tolist() == [[4, 0], [10, 0], [14, 0], [14, 4], [10, 4], [10, 0], [4, 0], [4, 4], [0, 4], [0, 0]]


def test_a_part_in_the_middle_is_gone_through_on_the_way_there_and_back():
    joined = join_parts([SQUARE, moved(SQUARE, 10), moved(SQUARE, 20)])
    assert {tuple(corner) for corner in joined} == {tuple(corner) for part in (0, 10, 20) for corner in moved(SQUARE, part)}
    assert area(joined) == 48


def test_very_long_parts_are_compared_by_some_of_their_corners():
    angles = np.linspace(0, 2 * np.pi, 50_000, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    joined = join_parts([circle, moved(circle, 10)])
    assert area(joined) == pytest.approx(2 * area(circle), rel=1e-9)


@given(
    st.lists(arrays(np.float64, st.tuples(st.integers(3, 6), st.just(2)), elements=st.integers(-20, 20).map(float)), min_size=1, max_size=6)
)
@settings(max_examples=50, deadline=None)
def test_lines_between_parts_have_no_width(parts):
    """Areas add up, whichever way round the parts are written, and no corner is lost or made up."""
    joined = join_parts(parts)
    assert area(joined) == pytest.approx(sum(map(area, parts)), abs=1e-6)
    assert {tuple(corner) for corner in joined} == {tuple(corner) for part in parts for corner in part}


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308])
def test_what_is_beyond_all_measure_is_no_error(value):
    assert len(join_parts([SQUARE, np.full((3, 2), value), SQUARE])) == 15
