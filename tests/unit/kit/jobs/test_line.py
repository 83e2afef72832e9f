"""Who is next, without listing a thousand for each claim; and who waits for whose end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from visionyard.kit.jobs import records as records_module
from visionyard.kit.jobs.holding import Holding
from visionyard.kit.jobs.line import Line
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.queue import Marker, Place
from visionyard.kit.jobs.service import JobService
from visionyard.kit.objectstore.documents import Document
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import ObjectInfo, StoreUnavailable


@pytest.fixture
def service() -> JobService:
    return JobService(MemoryObjectStore(), JobKind.TRAINING)


@pytest.fixture
def listed(service: JobService, monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """The places that were listed."""
    places: list[Place] = []
    markers = service.records.markers
    monkeypatch.setattr(service.records, "markers", lambda place: places.append(place) or markers(place))
    return places


def counted(service: JobService, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many jobs were read since it was asked last."""
    read: list[object] = []
    get = service.records.get
    monkeypatch.setattr(service.records, "get", lambda name: read.append(name) or get(name))

    def count() -> int:
        found = len(read)
        read.clear()
        return found

    return count


def test_a_listing_serves_for_many_claims_and_until_it_is_old(service: JobService, listed: list[Place]) -> None:
    names = {service.create("default", {"n": n}, "").name for n in range(5)}
    line = Line(service.records, fresh_s=1000)
    for name in sorted(names, key=lambda name: name.id, reverse=True):  # the oldest first
        marker = next(line.order({}))
        assert marker.job == name
        line.leave(marker)
    assert listed == [Place.WAITING]
    assert list(line.order({})) != []
    assert len(listed) == 2, "where nobody is left it looks again"
    service.create("default", {}, "", priority=9)
    assert next(line.order({})).priority == 0
    line.is_old()
    assert next(line.order({})).priority == 9
    assert len(listed) == 3


def test_what_time_alone_has_made_old_is_listed_beside_the_next_look(
    service: JobService, listed: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.create("default", {"n": 0}, "")
    line = Line(service.records, fresh_s=0)
    assert len(list(line.order({}))) == 1
    service.create("default", {"n": 1}, "")
    may_list, markers = threading.Event(), service.records.markers
    monkeypatch.setattr(service.records, "markers", lambda place: (may_list.wait(20), markers(place))[1])
    assert len(list(line.order({}))) == 1, "it does not wait for the list"
    assert len(list(line.order({}))) == 1
    may_list.set()
    line._listing.join(20)
    assert len(listed) == 2, "one at a time"
    assert len(list(line.order({}))) == 2
    line._listing.join(20)

    def away(place: Place) -> list[Marker]:
        raise StoreUnavailable("away")

    monkeypatch.setattr(service.records, "markers", away)
    list(line.order({}))
    line._listing.join(20)
    with pytest.raises(StoreUnavailable):
        line.order({})


def test_nobody_reads_all_that_are_waited_for_in_each_round(service: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = [service.create("default", {"n": 0}, "")]
    for n in range(1, 40):
        chain.append(service.create("default", {"n": n}, "", follows=chain[-1].name.id))
    reads = counted(service, monkeypatch)
    holding = Holding(service.records)
    assert not holding.release()
    assert reads() <= 4
    service.records.update(chain[0].name, lambda job, now: job.changed(state=JobState.SUCCEEDED, end_time=now))
    reads()
    assert holding.release(), "what has no marker any more has ended, and is read at once"
    assert reads() <= 8
    assert not service.get(chain[1].name).held
    assert service.get(chain[2].name).held


def test_a_marker_that_is_left_over_holds_nobody_for_ever(service: JobService) -> None:
    jobs = [service.create("default", {"n": n}, "") for n in range(12)]
    held = [service.create("default", {}, "", follows=job.name.id) for job in jobs]
    left_over = service.get(jobs[7].name).marker
    assert left_over is not None
    service.records.update(jobs[7].name, lambda job, now: job.changed(state=JobState.CANCELLED, end_time=now))
    service.records.store.put(left_over.key("training"), b"")  # who cancelled it died before it was cleared
    holding = Holding(service.records)
    for _ in range(4):
        holding.release()
    assert service.get(held[7].name).state is JobState.FAILED
    assert sum(service.get(job.name).state is JobState.QUEUED for job in held) == 11


def test_a_listing_that_has_what_left_the_line_clears_what_is_left_over(service: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, waits = (service.create("default", {"n": n}, "").name for n in range(2))
    marker = service.get(gone).marker
    assert marker is not None
    service.records.update(gone, lambda job, now: job.changed(state=JobState.CANCELLED, end_time=now))
    service.records.store.put(marker.key("training"), b"")  # who cancelled it died before it was cleared
    line = Line(service.records, fresh_s=1000)
    assert marker in set(line.order({}))
    reads = counted(service, monkeypatch)
    assert service.records.standing(marker) is None
    assert (reads(), marker in service.records.markers(Place.WAITING)) == (1, True), "a look costs one read and clears nothing"
    line.leave(marker)
    line.is_old()
    assert [one.job for one in line.order({})] == [waits]
    assert reads() == 1, "only what had left is read"
    assert [one.job for one in service.records.markers(Place.WAITING)] == [waits]


def test_a_job_whose_marker_was_seen_before_it_was_there_comes_back_to_the_line(service: JobService) -> None:
    job = service.create("default", {"n": 0}, "")
    assert job.marker is not None
    line = Line(service.records, fresh_s=1000)
    line.leave(job.marker)  # its document had not been written
    assert list(line.order({})) == [job.marker]
    assert service.records.standing(job.marker) == service.get(job.name)


def test_a_look_at_who_waits_for_whom_lists_each_place_once(service: JobService, listed: list[Place]) -> None:
    first = service.create("default", {"n": 0}, "")
    service.create("default", {"n": 1}, "", follows=first.name.id)
    Holding(service.records).release()
    assert sorted(listed, key=str) == sorted(Place, key=str)


def test_a_store_that_is_away_while_the_line_lists_is_asked_again_at_the_next_look(
    service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(service.records, fresh_s=1000)
    service.create("default", {"n": 0}, "")
    assert len(list(line.order({}))) == 1
    service.create("default", {"n": 1}, "")
    line.is_old()
    with monkeypatch.context() as patch:

        def away(_: Place) -> list[Marker]:
            raise StoreUnavailable("away")

        patch.setattr(service.records, "markers", away)
        with pytest.raises(StoreUnavailable):
            line.order({})
    assert len(list(line.order({}))) == 2


@pytest.mark.parametrize("moment", ["before the marker is put", "before the job is swapped", "behind it all"])
def test_a_marker_that_is_put_again_while_it_is_cleared_is_not_lost(
    service: JobService, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Somebody has looked how old a marker is, and deletes it at a moment of the very resumption that puts it again."""
    records, store = service.records, service.records.store
    name = service.create("default", {"n": 0}, "").name
    records.update(name, lambda job, now: job.changed(state=JobState.FAILED, end_time=now))
    half = replace(records.get(name), state=JobState.QUEUED, turn=records.get(name).turn + 1)
    key = records._put(half)
    assert half.marker is not None
    marker = half.marker
    monkeypatch.setattr(records_module, "_ORPHAN_MARKER_AGE", timedelta(seconds=-1))

    def resume() -> None:
        assert service.resume(name, lambda job: job.spec, lambda job: job.pointers).state is JobState.QUEUED

    head, swap = store.head, records._documents.swap

    def resumed_behind_the_look(looked_at: str) -> ObjectInfo:
        found = head(looked_at)
        monkeypatch.setattr(store, "head", head)
        resume()
        return found

    def cleared_before_the_swap(*given: object) -> Document:
        store.delete(key)
        return swap(*given)

    if moment == "before the marker is put":
        assert records.at(marker) is None
        resume()
    elif moment == "before the job is swapped":
        monkeypatch.setattr(records._documents, "swap", cleared_before_the_swap)
        resume()
    else:
        monkeypatch.setattr(store, "head", resumed_behind_the_look)
        records.at(marker)
    assert [found.job for found in records.markers(Place.WAITING)] == [name]
    assert next(Line(records, fresh_s=1000).order({})).job == name


def test_a_creation_that_died_is_not_lost_where_its_marker_is_cleared_meanwhile(
    service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = service.records
    create = records._documents.create

    def dies(key: str, *given: object) -> Document:
        if "/requests/" in key or "requests" in key.split("/"):
            return create(key, *given)
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(records._documents, "create", dies)
        with pytest.raises(StoreUnavailable):
            service.create("default", {"n": 0}, "again")
    [marker] = records.markers(Place.WAITING)

    def cleared(*given: object) -> Document:
        records.store.delete(marker.key(records.kind.value))
        return create(*given)

    with monkeypatch.context() as patch:
        patch.setattr(records._documents, "create", cleared)
        job = service.create("default", {"n": 0}, "again")
    assert [found.job for found in records.markers(Place.WAITING)] == [job.name]


def test_a_resumption_that_died_half_way_leaves_no_marker_for_ever(service: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    name = service.create("default", {"n": 0}, "").name
    service.records.update(name, lambda job, now: job.changed(state=JobState.FAILED, end_time=now))

    def dies(*_: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(service.records._documents, "swap", dies)
        with pytest.raises(StoreUnavailable):
            service.resume(name, lambda job: job.spec, lambda job: job.pointers)
    [marker] = service.records.markers(Place.WAITING)
    assert service.records.count_waiting() == 1, "it may still be about to come true"
    assert service.records.at(marker) is None
    monkeypatch.setattr(records_module, "_ORPHAN_MARKER_AGE", timedelta(seconds=-1))
    assert service.records.count_waiting() == 0
    assert service.records.markers(Place.WAITING) == []
    assert service.resume(name, lambda job: job.spec, lambda job: job.pointers).state is JobState.QUEUED
    assert service.records.count_waiting() == 1
