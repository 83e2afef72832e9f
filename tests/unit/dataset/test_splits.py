"""Drawn splits: the promise for every class, seeds, and splits that would be empty."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionyard.dataset import splits
from visionyard.dataset.group_counts import GroupCounts
from visionyard.dataset.splits import STRATIFIED_FROM, TOLERANCE
from visionyard.kit.errors import Reason, YardError

NAMES = ("train", "val", "test")
RATIOS = [(0.8, 0.2), (0.8, 0.1, 0.1), (0.7, 0.2, 0.1), (0.5, 0.5), (0.6, 0.4)]


def sparse(counts):
    """A table of boxes, with the images in its last column, as it is drawn from."""
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(counts, axis=1))])
    return GroupCounts(starts, np.nonzero(counts)[1], counts[np.nonzero(counts)], counts.shape[1] - 1)


def draw(counts, ratios, seed, names, check=lambda: None):
    return splits.draw(sparse(counts), ratios, seed, names, check)


def farthest(counts, assigned, ratios):
    return splits.farthest(sparse(counts), assigned, ratios)


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


class Stop(Exception):
    pass


def test_a_set_of_many_classes_is_drawn_in_little_memory():
    """8,000 images of 600 classes as a full table were 38 MB each time it was copied, and it was copied four times; LVIS took 4.3 GB."""
    generator = np.random.default_rng(0)
    groups, classes = 8000, 600
    labels = list(generator.integers(0, classes, (groups, 3)))
    checks = []
    tracemalloc.start()
    counts = GroupCounts.count(np.arange(groups), labels)
    assigned = splits.draw(counts, (0.8, 0.2), 0, NAMES, lambda: checks.append(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20
    assert len(checks) >= groups / 1000
    assert splits.farthest(counts, assigned, (0.8, 0.2))[1] <= TOLERANCE


@pytest.mark.parametrize("after", [0, 3])
def test_a_draw_is_stopped(after):
    """At its beginning, and while single images are exchanged."""
    calls = iter(range(100))

    def check():
        if next(calls) >= after:
            raise Stop

    counts = boxes(900, 30, 3.0, 5)
    counts[0, 0] = 1000  # so that there is always something to do
    with pytest.raises(Stop):
        draw(counts, (0.8, 0.2), 0, NAMES, check)


def test_coming_closer_has_an_end(monkeypatch):
    monkeypatch.setattr(splits, "_WORK", 0)
    rounds = []
    improve = splits._improve
    monkeypatch.setattr(splits, "_improve", lambda *arguments: rounds.append(1) or improve(*arguments))
    counts = boxes(900, 30, 3.0, 5)
    counts[0, 0] = 1000
    draw(counts, (0.8, 0.2), 0, NAMES)
    assert len(rounds) <= 1


def test_what_is_counted():
    rows = [np.array([7, 7, 2]), np.empty(0, np.int64), np.array([2])]
    counts = GroupCounts.count(np.array([1, 0, 1]), rows)
    table = np.zeros((2, 3), int)
    table[counts.group_of_entries(), counts.columns] = counts.numbers
    assert table.tolist() == [[0, 0, 1], [2, 2, 2]]
    assert counts.totals().tolist() == [2, 2, 3]
    assert counts.take(np.array([1, 0])).numbers.tolist() == [2, 2, 2, 1]
