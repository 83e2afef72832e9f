import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from visionyard.kit.artifacts import versions
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import Conflict, OutcomeUnknown, StoreUnavailable

PARENT = ResourceName("default", "datasets", "shapes")


@pytest.fixture
def store():
    return MemoryObjectStore()


def test_versions_are_numbered_from_one(store):
    names = [versions.publish(store, PARENT, {"n": n}, f"job {n}").name.number for n in range(3)]
    assert names == [1, 2, 3]
    assert [v.body["n"] for v in versions.list_versions(store, PARENT)] == [2, 1, 0]
    assert [v.body["n"] for v in versions.list_versions(store, PARENT, before=2)] == [0]
    assert versions.newest(store, PARENT).name.number == 3
    assert versions.first(store, PARENT).name.number == 1
    assert versions.resolve(store, VersionName(PARENT, 2)).body == {"n": 1}
    assert versions.resolve(store, VersionName(PARENT, None)).body == {"n": 2}


def test_the_same_maker_publishes_once(store):
    first = versions.publish(store, PARENT, {"n": 1}, "job a")
    versions.publish(store, PARENT, {"n": 2}, "job b")
    again = versions.publish(store, PARENT, {"n": 1}, "job a")
    assert again == first
    assert versions.newest(store, PARENT).name.number == 2


def test_publishers_at_once_get_different_numbers(store):
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(versions.publish(store, PARENT, {}, f"job {n}").name.number)) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 9))


def test_what_is_missing_is_named(store):
    with pytest.raises(YardError) as error:
        versions.resolve(store, VersionName(PARENT, None))
    assert error.value.reason is Reason.DATASET_NOT_FOUND
    versions.publish(store, PARENT, {}, "job")
    with pytest.raises(YardError) as error:
        versions.resolve(store, VersionName(PARENT, 7))
    assert error.value.reason is Reason.DATASET_VERSION_NOT_FOUND
    assert "newest is 1" in error.value.message


def test_parents_are_listed_by_id_and_paged(store):
    for name in ("b", "a", "a-2", "c"):
        versions.publish(store, ResourceName("default", "datasets", name), {}, "job")
    versions.publish(store, ResourceName("other", "datasets", "z"), {}, "job")
    assert [p.id for p in versions.list_parents(store, "default", "datasets")] == ["a-2", "a", "b", "c"]
    assert [p.id for p in versions.list_parents(store, "default", "datasets", after="a")] == ["b", "c"]


class Deaf(MemoryObjectStore):
    """The first ``lost`` creations don't arrive, and nobody says so; the one after them arrives without an answer."""

    def __init__(self, lost):
        super().__init__()
        self.lost = lost
        self.creations = 0

    def create(self, key, data):
        self.creations += 1
        if self.creations > self.lost:
            super().create(key, data)
        raise OutcomeUnknown(key)


def test_lost_answers_make_one_version(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    store = Deaf(lost=3)
    assert versions.publish(store, PARENT, {}, "job").name.number == 1
    assert store.creations == 4


def test_publishing_ends_where_the_store_reads_but_does_not_write(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    store = Deaf(lost=50)
    with pytest.raises(StoreUnavailable):
        versions.publish(store, PARENT, {}, "job")
    assert 2 <= store.creations <= 10
    assert versions.newest(store, PARENT) is None


def test_a_deleted_versions_number_is_not_given_out_again(store):
    for n in range(3):
        versions.publish(store, PARENT, {"n": n}, f"job {n}")
    assert versions.delete(store, versions.newest(store, PARENT))
    assert versions.newest(store, PARENT).name.number == 2
    assert versions.publish(store, PARENT, {"n": 9}, "job 9").name.number == 4
    assert [v.name.number for v in versions.list_versions(store, PARENT)] == [4, 2, 1]
    assert versions.delete(store, versions.first(store, PARENT))
    assert versions.first(store, PARENT).name.number == 2
    assert versions.lookup(store, VersionName(PARENT, 1)) is None
    assert versions.find(store, PARENT, "job 0") is None
    with pytest.raises(YardError) as error:
        versions.resolve(store, VersionName(PARENT, 3))
    assert error.value.reason is Reason.DATASET_VERSION_NOT_FOUND
    assert "no longer" in error.value.message


def test_of_two_that_delete_a_version_one_does(store):
    version = versions.publish(store, PARENT, {}, "job")
    assert [versions.delete(store, version), versions.delete(store, version)] == [True, False]
    with pytest.raises(YardError) as error:
        versions.resolve(store, VersionName(PARENT, None))
    assert error.value.reason is Reason.DATASET_NOT_FOUND


class DeafToSwaps(MemoryObjectStore):
    """Swaps whose answers get lost: the first ``lost`` of them do not arrive either."""

    lost = 0

    def compare_and_swap(self, key, data, etag):
        self.lost -= 1
        if self.lost < 0:
            super().compare_and_swap(key, data, etag)
        raise OutcomeUnknown(key)


@pytest.mark.parametrize("lost", [0, 2])
def test_lost_answers_delete_and_change_once(monkeypatch, lost):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    store = DeafToSwaps()
    version = versions.publish(store, PARENT, {"place": "a"}, "job")
    store.lost = lost
    changed = versions.change(store, version, {"place": "b"})
    assert (changed.body, changed.create_time, changed.made_by) == ({"place": "b"}, version.create_time, "job")
    with pytest.raises(Conflict):
        versions.change(store, version, {"place": "c"})
    store.lost = lost
    assert versions.delete(store, version), "also with the etag of before it was moved"
    with pytest.raises(Conflict):
        versions.change(store, changed, {"place": "c"})


def test_a_moved_version_keeps_its_time():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store = MemoryObjectStore(lambda: now)
    version = versions.publish(store, PARENT, {"place": "a"}, "job")
    now += timedelta(days=3)
    assert versions.change(store, version, {"place": "b"}).create_time == version.create_time
    assert versions.newest(store, PARENT).create_time == version.create_time
