"""When waiting trainings are expected to begin."""

from datetime import UTC, datetime, timedelta

import pytest

from visionyard.kit.jobs.model import JobState
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.forecast import starts
from visionyard.training.processes import slots_taken
from visionyard.training.spec import TrainingSpec
from visionyard.training.trainings import Trainings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def forecast(running, waiting, slots, *elsewhere):
    """What is told of each waiting one, given as its seconds, or as those and how many slots it takes."""
    names = [ResourceName("p", "trainingJobs", f"j{n}") for n in range(len(waiting))]
    wanted = [one if isinstance(one, tuple) else (one, 1) for one in waiting]
    own = [*running, *[NOW] * (slots - len(running))]
    found = starts(NOW, [own, *elsewhere], [(name, *one) for name, one in zip(names, wanted, strict=True)])
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


def test_a_wide_one_begins_when_the_last_of_its_slots_is_free_and_those_behind_it_wait():
    assert forecast([at(100), at(40)], [(50.0, 2), 10.0], 2) == [100, 150]
    assert forecast([at(100)], [(50.0, 2), 10.0, (5.0, 2)], 2) == [100, 150, 160]
    assert forecast([at(100), at(100), at(20)], [(50.0, 2), 5.0], 4) == [20, 70]
    assert forecast([None], [(5.0, 2), 5.0], 2) == [None, None], "the free slot is kept for it"


def test_one_that_is_wider_than_the_machine_is_left_to_others_and_stops_nobody():
    assert forecast([at(100)], [(50.0, 3), 10.0], 2) == [None, 0]


def test_a_wide_one_gets_all_its_slots_of_one_machine():
    assert forecast([at(300), at(3600)], [(50.0, 2)], 2, [at(600), at(7200)]) == [3600]
    assert forecast([at(600)], [(50.0, 2)], 2, [at(3600)] * 8) == [600], "a wide one elsewhere hides none of the slots here"
    assert forecast([at(600)], [(50.0, 2)], 2, [None] * 8) == [600]
    assert forecast([at(600)], [(50.0, 8), 5.0], 2, [at(3600)] * 8) == [3600, 0], "here it is too wide, there it is not"
    assert forecast([None], [5.0, 7.0], 1, [at(40)]) == [40, 45]


def test_the_queue_knows_which_slots_are_its_own():
    trainings = Trainings(
        MemoryObjectStore(),
        lambda: pytest.fail("nothing of Ultralytics is needed"),
        slots=2,
        width=lambda spec: spec["gpus"],
        node="own:/w",
    )

    def queued(gpus, seconds):
        spec = TrainingSpec("projects/p/datasets/d/versions/1", "projects/p/models/m", architecture="yolov8n.yaml", gpus=gpus)
        return trainings.jobs.create("p", spec.to_json(), "", pointers={"estimate": {"seconds": seconds}}).name

    def begun(name, node, slots):
        return trainings.jobs.records.update(
            name, lambda job, now: job.changed(state=JobState.RUNNING, attempt=1, start_time=now, node=node, slots=slots)
        ).start_time

    began = begun(queued(1, 600.0), "own:/w", (1,))
    begun(queued(8, 3600.0), "other:/w", tuple(range(8)))
    waiting = queued(2, 60.0)
    told = {view.job.name: view.expected_start for view in trainings.queue(ProjectName("p"))[0]}
    assert (told[waiting] - began).total_seconds() == pytest.approx(600, abs=5)


@pytest.mark.parametrize(("taken", "begins"), [((0, 1), [100, 160]), ((1,), [0, 100])])
def test_the_queue_tells_it_by_the_slots_that_jobs_hold_and_take(taken, begins):
    slots = [{"CUDA_VISIBLE_DEVICES": name} for name in ("0", "1")]
    trainings = Trainings(MemoryObjectStore(), lambda: pytest.fail("nothing of Ultralytics is needed"), slots=2, width=slots_taken(slots))

    def queued(gpus, seconds):
        spec = TrainingSpec("projects/p/datasets/d/versions/1", "projects/p/models/m", architecture="yolov8n.yaml", gpus=gpus)
        return trainings.jobs.create("p", spec.to_json(), "", pointers={"estimate": {"seconds": seconds}}).name

    running = queued(len(taken), 100.0)
    begun = trainings.jobs.records.update(
        running, lambda job, now: job.changed(state=JobState.RUNNING, attempt=1, start_time=now, slots=taken)
    ).start_time
    waiting = [queued(1, 60.0), queued(2, 60.0)] if len(taken) == 1 else [queued(2, 60.0), queued(1, 60.0)]
    too_wide = queued(3, 60.0)
    views, _ = trainings.queue(ProjectName("p"))
    told = {view.job.name: view.expected_start for view in views}
    assert [(told[name] - begun).total_seconds() for name in waiting] == pytest.approx(begins, abs=5)
    assert told[too_wide] is None
