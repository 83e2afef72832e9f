"""Which running job makes room for which waiting one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from visionyard.kit.jobs.making_room import least_priority, who_makes_room
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.jobs.queue import Marker, Place
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore

BEGAN = datetime(2026, 11, 22, tzinfo=UTC)


def name(id_: str) -> ResourceName:
    return ResourceName("default", JobKind.TRAINING.collection, id_)


def running(id_: str, priority: int = 0, minutes: int = 0, **changes: object) -> Job:
    job = Job(
        name(id_), JobKind.TRAINING, {}, JobState.RUNNING, 1, BEGAN, "", priority=priority, start_time=BEGAN + timedelta(minutes=minutes)
    )
    return job.changed(**changes)


def waiting(id_: str, priority: int) -> Marker:
    return Marker(Place.WAITING, name(id_), 1, priority)


def pairs(waiting_: list[Marker], own: list[Job], others: list[Job] | None = None) -> list[tuple[str, str]]:
    return [(job.name.id, marker.job.id) for job, marker in who_makes_room(waiting_, [*own, *(others or [])], own)]


def test_the_least_urgent_that_began_last_makes_room_for_the_most_urgent() -> None:
    own = [running("early", 1), running("late", 1, 5), running("lowest", 0), running("high", 9)]
    assert pairs([waiting("x", 5)], own) == [("lowest", "x")]
    assert pairs([waiting("x", 5), waiting("y", 8)], own) == [("lowest", "y"), ("late", "x")]
    assert least_priority(own) == 0


def test_nobody_makes_room_for_an_equal_one() -> None:
    assert pairs([waiting("x", 1)], [running("a", 1), running("b", 2)]) == []


def test_who_is_waited_for_already_asks_nobody_else() -> None:
    asked = running("other", 0, yields_to=str(name("x")))
    assert pairs([waiting("x", 5)], [running("a")], [asked]) == []
    assert pairs([waiting("x", 5), waiting("y", 4)], [running("a")], [asked]) == [("a", "y")]
    assert pairs([waiting("y", 4)], [running("a", 0, yields_to=str(name("x")))]) == []


def test_only_running_jobs_make_room() -> None:
    ending = running("a", state=JobState.CANCELLING)
    assert pairs([waiting("x", 5)], [ending]) == []
    assert least_priority([ending]) is None


def test_a_job_that_leaves_its_slot_has_no_room_to_make_any_more() -> None:
    assert running("a", yields_to="x").changed(state=JobState.QUEUED).yields_to == ""
    assert running("a", yields_to="x").changed(pointers={}).yields_to == "x"


def test_those_of_higher_priority_are_found_without_reading_all() -> None:
    service = JobService(MemoryObjectStore(), JobKind.TRAINING)
    for priority in (0, 3, -2, 7, 3):
        service.create("default", {"n": priority}, "", priority=priority)
    assert sorted(marker.priority for marker in service.records.waiting_above(0)) == [3, 3, 7]
    assert service.records.waiting_above(7) == []
