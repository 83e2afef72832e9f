"""Drawn splits: the promise for every class, seeds, and splits that would be empty."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionyard.dataset.splits import STRATIFIED_FROM, TOLERANCE, draw, farthest
from visionyard.kit.errors import Reason, YardError

NAMES = ("train", "val", "test")
RATIOS = [(0.8, 0.2), (0.8, 0.1, 0.1), (0.7, 0.2, 0.1), (0.5, 0.5), (0.6, 0.4)]


def boxes(groups, classes, mean, seed):
    """Random counts in which no image holds more than a few boxes of a class."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.ones(classes))
    counts = np.stack([generator.multinomial(generator.poisson(mean), shares) for _ in range(groups)])
    return np.c_[np.minimum(counts, 4), np.ones(groups, dtype=np.int64)]


@settings(max_examples=60, deadline=None)
@given(
    groups=st.integers(100, 400),
    classes=st.integers(1, 12),
    mean=st.floats(1.0, 4.0),
    seed=st.integers(0, 2**32),
    ratios=st.sampled_from(RATIOS),
)
def test_every_class_of_thirty_boxes_is_within_three_points(groups, classes, mean, seed, ratios):
    counts = boxes(groups, classes, mean, seed)
    assigned = draw(counts, ratios, seed, NAMES)
    totals = counts[:, :-1].sum(axis=0)
    for class_id in np.flatnonzero(totals >= STRATIFIED_FROM):
        for split, ratio in enumerate(ratios):
            share = counts[assigned == split, class_id].sum() / totals[class_id]
            assert abs(share - ratio) <= TOLERANCE
    sizes = np.bincount(assigned, minlength=len(ratios)) / groups
    assert np.abs(sizes - ratios).max() <= 0.05
    assert farthest(counts, assigned, ratios)[1] <= TOLERANCE


def test_the_same_seed_gives_the_same_draw():
    counts = boxes(200, 5, 3.0, 1)
    one, two, other = (draw(counts, (0.8, 0.2), seed, NAMES) for seed in (7, 7, 8))
    assert (one == two).all()
    assert (one != other).any()
    assert (draw(counts, (0.8, 0.2), -1, NAMES) == draw(counts, (0.8, 0.2), -1, NAMES)).all()


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_no_split_is_empty_where_there_are_enough_images(groups):
    counts = np.ones((groups, 2), dtype=np.int64)
    assert set(draw(counts, (0.99, 0.01), 0, NAMES)) == {0, 1}


def test_a_share_of_nothing_gets_nothing():
    assert set(draw(np.ones((9, 2), dtype=np.int64), (1.0, 0.0, 0.0), 0, NAMES)) == {0}
    assert set(draw(np.ones((9, 2), dtype=np.int64), (0.5, 0.0, 0.5), 0, NAMES)) == {0, 2}


def test_too_few_images():
    with pytest.raises(YardError) as caught:
        draw(np.ones((2, 2), dtype=np.int64), (0.8, 0.1, 0.1), 0, NAMES)
    assert caught.value.reason is Reason.SPLIT_EMPTY
    assert caught.value.metadata == {"split": "test"}


def test_a_class_that_lies_in_one_image_is_told():
    counts = np.ones((20, 2), dtype=np.int64)
    counts[0, 0] = 1000
    assigned = draw(counts, (0.8, 0.2), 0, NAMES)
    assert farthest(counts, assigned, (0.8, 0.2))[1] > TOLERANCE
