"""When waiting trainings are expected to begin."""

from datetime import UTC, datetime, timedelta

from visionyard.kit.names import ResourceName
from visionyard.training.forecast import starts

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def forecast(running, waiting, slots):
    names = [ResourceName("p", "trainingJobs", f"j{n}") for n in range(len(waiting))]
    found = starts(NOW, running, zip(names, waiting, strict=True), slots)
    return [(found[name] - NOW).total_seconds() if name in found else None for name in names]


def test_one_after_the_other():
    assert forecast([at(100)], [60.0, 30.0, 10.0], 1) == [100, 160, 190]


def test_each_takes_the_slot_that_is_free_first():
    assert forecast([at(100), at(40)], [200.0, 10.0, 10.0], 2) == [40, 100, 110]
    assert forecast([at(100)], [5.0, 5.0], 2) == [0, 5]
    assert forecast([at(-50)], [5.0], 1) == [0], "it should have ended already"


def test_behind_one_of_which_nothing_is_known_nothing_is_told():
    assert forecast([None], [5.0], 1) == [None]
    assert forecast([at(10)], [5.0, None, 5.0], 1) == [10, 15, None]
    assert forecast([None, at(10)], [5.0, 5.0], 2) == [10, 15]
