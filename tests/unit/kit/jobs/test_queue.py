"""The queue's order and its markers, over the store in memory."""

from __future__ import annotations

import random

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.holding import Holding
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.jobs.queue import Marker, Place, fair_order
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore

KIND = JobKind.TRAINING


def _job(project: str, age: int) -> ResourceName:
    """Ids sort newest first: an older job has a higher one."""
    return ResourceName(project, KIND.collection, f"{age:04d}")


def _waiting(project: str, age: int, priority: int = 0) -> Marker:
    return Marker(Place.WAITING, _job(project, age), 1, priority)


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


@pytest.fixture
def service(store: MemoryObjectStore) -> JobService:
    return JobService(store, KIND)


def _end(service: JobService, job: Job, state: JobState) -> None:
    service.records.update(job.name, lambda current, now: current.changed(state=state, end_time=now))


def _keys(store: MemoryObjectStore) -> list[str]:
    return [entry.key for entry in store.list("queue/")]


@pytest.mark.parametrize(
    "marker",
    [
        Marker(Place.WAITING, _job("p", 1), 3, 100),
        Marker(Place.WAITING, _job("p", 1), 1, -1000),
        Marker(Place.HELD, _job("p", 1), 1, waits_for="0002"),
        Marker(Place.RUNNING, _job("p", 1), 12),
    ],
)
def test_a_key_tells_what_its_marker_did(marker: Marker) -> None:
    assert Marker.parse(marker.key("training"), "training", KIND.collection) == marker


@pytest.mark.parametrize("key", ["queue/training/p/0001", "queue/training/waiting/p", "queue/training/running/p/0001.x", "queue/training/"])
def test_other_keys_are_no_markers(key: str) -> None:
    assert Marker.parse(key, "training", KIND.collection) is None


def test_higher_priorities_come_first_then_the_oldest() -> None:
    markers = [_waiting("p", 5), _waiting("p", 9), _waiting("p", 1, 100), _waiting("p", 3, -1)]
    random.Random(4).shuffle(markers)
    assert [marker.job.id for marker in fair_order(markers, {})] == ["0001", "0009", "0005", "0003"]
    keys = sorted(marker.key("training") for marker in markers)
    assert [Marker.parse(key, "training", KIND.collection).priority for key in keys] == [100, 0, 0, -1]


def test_projects_take_turns_and_who_runs_much_waits() -> None:
    markers = [*(_waiting("many", age) for age in (9, 8, 7, 6)), _waiting("few", 2), _waiting("few", 1)]
    assert [marker.job.project for marker in fair_order(markers, {})] == ["many", "few", "many", "few", "many", "many"]
    assert [marker.job.project for marker in fair_order(markers, {"many": 1})] == ["few", "many", "few", "many", "many", "many"]
    assert [marker.job.project for marker in fair_order(markers, {"few": 2})] == ["many", "many", "many", "few", "many", "few"]


def test_a_job_has_one_marker_wherever_it_stands_and_none_at_its_end(store: MemoryObjectStore, service: JobService) -> None:
    job = service.create("p", {}, "")
    for state in (JobState.RUNNING, JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING):
        moved = service.records.update(job.name, lambda current, _, state=state: current.changed(state=state))
        assert _keys(store) == [moved.marker.key("training")]
    _end(service, job, JobState.CANCELLED)
    assert _keys(store) == []


def test_what_is_left_over_is_cleared_and_what_is_not_yet_true_stays(store: MemoryObjectStore, service: JobService) -> None:
    job = service.create("p", {}, "")
    running = service.records.update(job.name, lambda current, _: current.changed(state=JobState.RUNNING))
    left = Marker(Place.WAITING, job.name, 1)
    early = Marker(Place.WAITING, job.name, running.turn + 1)
    for marker in (left, early):
        store.put(marker.key("training"), b"")
        assert service.records.at(marker).state is JobState.RUNNING
    assert _keys(store) == sorted([early.key("training"), running.marker.key("training")])
    assert [found.name for found in service.records.unfinished()] == [job.name]


def test_a_job_follows_another_and_fails_with_it(service: JobService) -> None:
    first = service.create("p", {}, "")
    second = service.create("p", {}, "", follows=first.name.id)
    third = service.create("p", {}, "", follows=second.name.id)
    assert [service.queue_position(job) for job in (first, second, third)] == [1, 2, 2]
    Holding(service.records).release()
    assert service.get(second.name).held
    _end(service, first, JobState.SUCCEEDED)
    Holding(service.records).release()
    assert [service.get(job.name).held for job in (second, third)] == [False, True]
    _end(service, second, JobState.FAILED)
    Holding(service.records).release()
    failed = service.get(third.name)
    assert (failed.state, failed.error.reason) == (JobState.FAILED, Reason.DEPENDENCY_FAILED)


def test_an_ended_job_is_resumed_and_a_running_one_is_not(store: MemoryObjectStore, service: JobService) -> None:
    job = service.create("p", {"epochs": 3}, "")
    with pytest.raises(YardError) as refused:
        service.resume(job.name, lambda current: {**current.spec, "epochs": 5}, lambda current: current.pointers)
    assert refused.value.reason is Reason.JOB_UNFINISHED
    _end(service, job, JobState.CANCELLED)
    for _ in range(2):  # a client that did not hear the answer asks again
        resumed = service.resume(job.name, lambda current: {**current.spec, "epochs": 5}, lambda current: {"checkpoint": 1})
        assert (resumed.state, resumed.spec, resumed.pointers) == (JobState.QUEUED, {"epochs": 5}, {"checkpoint": 1})
        assert (resumed.error, resumed.end_time, resumed.resumptions) == (None, None, 1)
    assert _keys(store) == [resumed.marker.key("training")]
    assert service.queue_position(resumed) == 1


def test_a_claim_reads_few_documents_however_many_wait(
    store: MemoryObjectStore, service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [service.create("p", {"n": n}, "") for n in range(300)]
    fresh, reads = JobService(store, KIND), []
    get = store.get
    monkeypatch.setattr(store, "get", lambda *arguments, **options: reads.append(1) or get(*arguments, **options))
    assert fresh.records.states() == [JobState.QUEUED] * 300
    assert {fresh.queue_position(job) for job in jobs} == set(range(1, 301))
    assert reads == []
