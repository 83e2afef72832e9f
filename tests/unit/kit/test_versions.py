import threading
import time

import pytest

from visionyard.kit.artifacts import versions
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import OutcomeUnknown, StoreUnavailable

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
