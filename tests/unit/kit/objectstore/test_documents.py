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
        self._then(word, key)
        if word == "answered as a conflict":  # urllib3 or a proxy repeated it: done the first time, refused the second
            raise Conflict(key)
        return etag

    def _then(self, word, key):
        if word.startswith("others then"):
            for _ in range(3):
                Documents(self).update(key, lambda body: {**body, "others": body.get("others", 0) + 1})
        if word == "deleted then":
            self.delete(key)
        if word == "others then, lost":
            raise OutcomeUnknown(key)

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


@pytest.mark.parametrize("word", ["others then", "others then, lost"])
@pytest.mark.parametrize("kind", ["create", "swap"])
def test_a_write_that_others_built_upon_has_happened(store, word, kind):
    documents = Documents(store)
    if kind == "swap":
        before = documents.create("p/a", {"n": 0})
    store.script = [word]
    written = documents.create("p/a", {"n": 1}) if kind == "create" else documents.swap(before, {"n": 1})
    assert written.body == {"n": 1}
    assert documents.read("p/a").body == {"n": 1, "others": 3}
    with pytest.raises(Conflict):
        documents.swap(written, {"n": 2})


def test_what_was_deleted_right_after_its_creation_is_not_created_again(store):
    store.script = ["deleted then"]
    with pytest.raises(Conflict):
        Documents(store).create("p/a", {"n": 1})
    assert store.writes == 1


def test_an_update_is_done_once_however_many_come_after_it(store):
    documents = Documents(store)
    documents.create("p/a", {"n": 0})
    store.script = ["others then"]
    assert documents.update("p/a", lambda body: {**body, "n": body["n"] + 1}).body == {"n": 1}
    assert documents.read("p/a").body == {"n": 1, "others": 3}


def test_a_document_remembers_a_bounded_number_of_writers(store):
    documents = Documents(store)
    documents.create("p/a", {"n": 0})
    for _ in range(50):
        documents.update("p/a", lambda body: {"n": body["n"] + 1})
    assert len(store.get("p/a").data) < 600


def test_documents_of_before_are_read(store):
    store.put("p/a", b'{"nonce": "another", "body": {"n": 1}}')
    assert Documents(store).update("p/a", lambda body: {"n": body["n"] + 1}).body == {"n": 2}


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
