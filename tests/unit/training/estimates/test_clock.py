"""A run that is timed by its events."""

import pytest

from visionyard.training.estimates.clock import RunClock
from visionyard.training.estimates.estimator import Basis, Expectation

EXPECTED = Expectation(9.0, 20.0, 4.0, 5.0, 218.0, Basis.SAME, 3, 0.0, 0)


class Run:
    def __init__(self):
        self.now = 100.0
        self.clock = RunClock(90.0, lambda: self.now)

    def epoch(self, train, val, save, first_batch=0.0):
        self.clock.epoch_begins(1, 1.0)
        self.now += first_batch
        self.clock.batch_begins()
        self.now += train
        self.clock.batch_ends()
        self.clock.trained()
        self.clock.validation_begins()
        self.now += val
        self.clock.validation_ends()
        self.now += save
        self.clock.epoch_ends()


@pytest.fixture
def run():
    return Run()


def test_the_parts_make_the_whole(run):
    run.clock.fetched(4.0)
    run.now = 110.0
    run.epoch(20, 3, 1, first_batch=5)
    run.epoch(10, 3, 1, first_batch=1)
    run.epoch(10, 3, 1, first_batch=1)
    times = run.clock.times()
    assert (times.epochs, times.start_up_s, times.fetch_s, times.first_extra_s) == (3, 110 + 5 - 90 - 4, 4, 9)
    assert (times.train_s, times.val_s, times.save_s) == (11, 3, 1)
    run.now += 7
    assert run.clock.end_s == 7
    parts = times.start_up_s + times.fetch_s + times.first_extra_s + 3 * (11 + 3 + 1) + 7
    assert parts == run.clock.since_began_s


def batches(run, computing, loading=0.0):
    """A training's batches, each loaded before it is computed; the first was loaded before the epoch."""
    for number, seconds in enumerate(computing):
        run.now += loading if number else 0
        run.clock.batch_begins()
        run.now += seconds
        run.clock.batch_ends()


@pytest.mark.parametrize(
    ("computing", "filled", "train", "extra"),
    [
        pytest.param((9, 3, 2, 2, 2, 2), 6.0, 12, 8, id="its second half"),
        pytest.param((9, 3, 2, 2, 2, 2, 2), 7.0, 14, 8, id="of an odd number"),
        pytest.param((2, 2, 2, 2, 2, 1), 5.5, 11, 0, id="the last is not full"),
        pytest.param((2, 2, 2, 3, 3, 3), 6.0, 15, 0, id="no quicker than the whole"),
        pytest.param((9, 2, 2, 2), 4.0, 15, 0, id="too few"),
        pytest.param((9, 3, 2, 2, 2, 2), 60.0, 12, 8, id="more images than are trained on"),
    ],
)
def test_the_only_epoch_tells_by_its_later_batches_what_others_would_take(run, computing, filled, train, extra):
    """The first ones are slow: memory is allocated, kernels are chosen, the first batches are drawn."""
    run.clock.epoch_begins(len(computing), filled)
    batches(run, computing)
    run.clock.trained()
    run.clock.epoch_ends()
    assert (run.clock.times().train_s, run.clock.times().first_extra_s) == (pytest.approx(train), pytest.approx(extra))
    run.epoch(7, 0, 0)
    assert run.clock.times().train_s == 7, "a second one tells better"


def test_loading_counts_like_computing(run):
    run.clock.epoch_begins(8, 8.0)
    batches(run, [1] * 8, loading=3.0)
    run.clock.trained()
    run.clock.epoch_ends()
    assert run.clock.times().train_s == pytest.approx(7 * 4 + 1), "of the half, 8 times 4; no more than it was"


def test_an_epoch_that_was_broken_off_is_not_counted(run):
    """Ultralytics' ``time`` ends a training within an epoch, which is validated and saved all the same."""
    run.clock.epoch_begins(100, 100.0)
    batches(run, [1] * 60)
    run.clock.trained()
    run.clock.epoch_ends()
    assert run.clock.times() is None
    run.now += 3
    assert run.clock.end_s == 3


def test_a_validation_that_draws_tells_what_it_takes_without(run):
    """As the only one of a training of one epoch does: from it, others of a hundred are expected. Three batches are drawn, and the curves at the end."""
    run.clock.epoch_begins(1, 1.0)
    batches(run, [10])
    run.clock.trained()
    run.clock.validation_begins()
    for loading, computing, matching, drawing in ((2, 3, 0, 7), (1, 3, 0, 7), (1, 3, 0, 7), (1, 3, 2, 0)):
        run.now += loading
        run.clock.validation_batch_begins()
        run.now += computing + matching + drawing
        run.clock.validation_batch_ends()
    run.now += 4
    run.clock.validation_ends(computed_s=12.0)
    run.now += 1
    run.clock.epoch_ends()
    times = run.clock.times()
    assert (times.val_s, times.save_s, times.train_s, times.first_extra_s) == (5 + 9 + 5, 1, 10, 25)
    assert run.clock.epoch_s == 10 + 19 + 25 + 1


def test_the_only_validation_of_several_epochs_draws_in_the_last(run):
    run.epoch(10, 0, 1)
    run.clock.epoch_begins(1, 1.0)
    batches(run, [10])
    run.clock.trained()
    run.clock.validation_begins()
    run.now += 8
    run.clock.validation_ends(computed_s=0.0)
    run.clock.epoch_ends()
    assert (run.clock.times().val_s, run.clock.times().first_extra_s) == (0, 8)


def test_no_more_was_computed_than_there_was_time(run):
    run.clock.epoch_begins(1, 1.0)
    batches(run, [0])
    run.clock.trained()
    run.clock.validation_begins()
    run.clock.validation_batch_begins()
    run.now += 5
    run.clock.validation_batch_ends()
    run.clock.validation_ends(computed_s=6.0)
    run.clock.epoch_ends()
    assert (run.clock.times().val_s, run.clock.times().first_extra_s) == (5, 0)


def test_the_last_validation_is_no_epoch(run):
    run.epoch(10, 0, 1)
    run.clock.validation_begins()
    run.now += 30
    run.clock.validation_ends()
    run.clock.epoch_ends()
    assert run.clock.times().epochs == 1
    assert run.clock.validation_s == 0
    assert run.clock.end_s == 30


def test_an_epoch_that_begins_anew_with_a_smaller_batch_counts_once(run):
    run.clock.epoch_begins(1, 1.0)
    run.clock.batch_begins()
    run.now += 50
    run.epoch(10, 1, 1)
    run.epoch(10, 1, 1)
    assert (run.clock.times().epochs, run.clock.times().train_s) == (2, 10)


def test_nothing_is_known_before_an_epoch_has_ended(run):
    assert run.clock.times() is None
    assert run.clock.epoch_s is None
    assert run.clock.in_epoch_s == 0


def test_what_remains(run):
    assert run.clock.remaining_s(0, 10, 0, 8, EXPECTED, end_s=5) == 10 * 20 + 5
    run.clock.epoch_begins(1, 1.0)
    run.clock.batch_begins()
    run.now += 30
    assert run.clock.remaining_s(0, 10, 4, 8, EXPECTED, end_s=5) == 30 + 9 * 60 + 5, "its own pace is half of what was expected"
    run.epoch(30, 0, 0)
    assert run.clock.remaining_s(1, 10, 0, 8, EXPECTED, end_s=5) == 9 * 30 + 5
    run.clock.epoch_begins(1, 1.0)
    run.now += 12
    assert run.clock.remaining_s(1, 10, 3, 8, EXPECTED, end_s=5) == 18 + 8 * 30 + 5
    run.now += 100
    assert run.clock.remaining_s(1, 10, 3, 8, EXPECTED, end_s=5) == 8 * 30 + 5


def test_what_remains_of_the_first_epoch_is_expected_with_what_makes_it_longer(run):
    run.clock.epoch_begins(8, 8.0)
    run.clock.batch_begins()
    run.now += 14
    assert run.clock.remaining_s(0, 1, 7, 8, EXPECTED, end_s=5) == (20 + 4 - 14) + 5
    assert run.clock.remaining_s(0, 3, 7, 8, EXPECTED, end_s=5) == (20 + 4 - 14) + 2 * 20 + 5
    assert run.clock.remaining_s(0, 1, 7, 8, None, end_s=5) == (14 / 7 * 8 - 14) + 5
