"""What happens to a document when answers get lost and others write in between."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import Conflict, NotFound, OutcomeUnknown, StoreUnavailable


class Scripted(MemoryObjectStore):
    """Before and after each conditional write something may happen; ``script`` holds one word for each."""

    def __init__(self):
        super().__init__()
        self.script = []
        self.writes = 0

    def _conditional(self, write, key):
        word = self.script.pop(0) if self.script else ""
        self.writes += 1
        if word == "lost before":
            raise OutcomeUnknown(key)
        if word == "refused":
            raise Conflict(key)
        if word == "another first":
            self.put(key, b'{"nonce": "another", "body": {"by": "another"}}')
        etag = write()
        if word == "lost after":
            raise OutcomeUnknown(key)
        if word == "lost after, another then":
            self.put(key, b'{"nonce": "another", "body": {"by": "another"}}')
            raise OutcomeUnknown(key)
        if word == "answered as a conflict":  # urllib3 or a proxy repeated it: done the first time, refused the second
            raise Conflict(key)
        return etag

    def create(self, key, data):
        return self._conditional(lambda: super(Scripted, self).create(key, data), key)

    def compare_and_swap(self, key, data, etag):
        return self._conditional(lambda: super(Scripted, self).compare_and_swap(key, data, etag), key)


@pytest.fixture
def store():
    return Scripted()


@pytest.mark.parametrize(
    ("script", "writes"),
    [
        ([], 1),
        (["lost after"], 1),
        (["answered as a conflict"], 1),
        (["lost before"], 2),
        (["lost before", "lost before", "lost after"], 3),
    ],
)
@pytest.mark.parametrize("kind", ["create", "swap"])
def test_our_own_write_is_recognised(store, script, writes, kind):
    documents = Documents(store)
    before = documents.create("k", {"by": "before"}) if kind == "swap" else None
    store.script, store.writes = list(script), 0
    made = documents.swap(before, {"by": "us"}) if before else documents.create("k", {"by": "us"})
    assert made.body == {"by": "us"}
    assert documents.read("k").etag == made.etag
    assert store.writes == writes


@pytest.mark.parametrize("script", [["another first"], ["lost before", "another first"], ["lost after, another then"]])
@pytest.mark.parametrize("kind", ["create", "swap"])
def test_anothers_write_is_a_conflict(store, script, kind):
    """The last one can't be told from the first: our write happened, and somebody swapped before we could look."""
    documents = Documents(store)
    before = documents.create("k", {"by": "before"}) if kind == "swap" else None
    store.script = list(script)
    with pytest.raises(Conflict):
        documents.swap(before, {"by": "us"}) if before else documents.create("k", {"by": "us"})
    assert documents.read("k").body == {"by": "another"}


@pytest.mark.parametrize("word", ["lost before", "refused"])
@pytest.mark.parametrize("kind", ["create", "swap", "update"])
def test_a_store_that_reads_but_does_not_write_is_unavailable(store, monkeypatch, word, kind):
    """SeaweedFS on a full disk. As a conflict it would make callers read and write again for ever."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    documents = Documents(store)
    before = documents.create("k", {"by": "before"}) if kind != "create" else None
    store.script, store.writes = [word] * 20, 0
    with pytest.raises(StoreUnavailable, match="nothing of it"):
        {
            "create": lambda: documents.create("k", {}),
            "swap": lambda: documents.swap(before, {}),
            "update": lambda: documents.update("k", lambda body: body),
        }[kind]()
    assert 2 <= store.writes <= 10


def test_a_deleted_document_cannot_be_swapped(store):
    documents = Documents(store)
    before = documents.create("k", {})
    store.delete("k")
    for script in ([], ["lost before"]):
        store.script = list(script)
        with pytest.raises(Conflict):
            documents.swap(before, {"by": "us"})
    with pytest.raises(NotFound):
        documents.refresh(before)


def test_the_same_body_twice_is_two_writes(store):
    documents = Documents(store)
    first = documents.create("k", {"a": 1})
    second = documents.swap(first, {"a": 1})
    assert second.etag != first.etag
    with pytest.raises(Conflict):
        documents.swap(first, {"a": 1})


def test_refresh_gives_the_same_object_when_nothing_changed(store):
    documents = Documents(store)
    first = documents.create("k", {"a": 1})
    assert documents.refresh(first) is first
    second = documents.swap(first, {"a": 2})
    assert documents.refresh(first) == second


def test_an_update_that_changes_nothing_in_place(store):
    documents = Documents(store)
    documents.create("k", {"n": 1})
    store.script = ["another first"]
    assert documents.update("k", lambda body: {**body, "more": True}).body == {"by": "another", "more": True}


def test_times_are_the_stores():
    now = datetime(2026, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC)
    documents = Documents(MemoryObjectStore(clock=lambda: now))
    made = documents.create("k", {})
    assert made.last_modified == now.replace(microsecond=0)
    now += timedelta(minutes=1)
    read = documents.read("k")
    assert read.now - read.last_modified == timedelta(minutes=1)
