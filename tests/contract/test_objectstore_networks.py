"""What networks do to an S3 adapter: answers lost, connections cut, a store away or its keys wrong."""

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest

from visionyard.kit.objectstore import s3
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, OutcomeUnknown, StoreUnavailable
from visionyard.kit.objectstore.s3 import S3ObjectStore


@pytest.fixture
def behind_proxy(seaweed, s3_bucket, proxy):
    return S3ObjectStore(seaweed.settings(s3_bucket, proxy.endpoint), retry_for_s=10)


def test_a_lost_answer_to_a_create_is_not_a_conflict(behind_proxy, proxy):
    documents = Documents(behind_proxy)
    proxy.lose_answers = 1
    made = documents.create("p/doc", {"a": 1})
    assert len(proxy.lost) == 1
    assert made.body == {"a": 1}
    with pytest.raises(Conflict):
        documents.create("p/doc", {"a": 2})
    assert documents.read("p/doc").etag == made.etag


def test_a_lost_answer_to_a_swap_is_not_a_conflict(behind_proxy, proxy):
    documents = Documents(behind_proxy)
    made = documents.create("p/doc", {"a": 1})
    proxy.lose_answers = 1
    swapped = documents.swap(made, {"a": 2})
    assert len(proxy.lost) == 1
    assert documents.read("p/doc") == documents.refresh(swapped)
    assert documents.read("p/doc").body == {"a": 2}
    with pytest.raises(Conflict):
        documents.swap(made, {"a": 3})


def test_a_conditional_write_without_an_answer_is_sent_once(behind_proxy, proxy):
    behind_proxy.put("p/warm", b"")
    proxy.lose_answers = 5
    with pytest.raises(OutcomeUnknown):
        behind_proxy.create("p/a", b"1")
    assert len(proxy.lost) == 1
    proxy.lose_answers = 0
    assert behind_proxy.get("p/a").data == b"1"


def test_plain_writes_and_large_files_survive_lost_answers(behind_proxy, proxy, tmp_path):
    behind_proxy.ensure_bucket()
    proxy.lose_answers = 2
    behind_proxy.put("p/a", b"1")
    assert len(proxy.lost) == 2
    source = tmp_path / "large"
    source.write_bytes(os.urandom(2**20) * 40)
    proxy.lose_answers = 3
    behind_proxy.put_file("p/large", source)
    assert len(proxy.lost) == 5
    behind_proxy.get_file("p/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_a_lost_answer_to_the_last_request_of_a_large_file(behind_proxy, proxy, tmp_path, monkeypatch):
    monkeypatch.setattr(s3, "_ONE_REQUEST_BYTES", 32 << 20)  # as if it were too large for one request
    source = tmp_path / "large"
    source.write_bytes(os.urandom(2**20) * 33)
    behind_proxy.ensure_bucket()
    original = proxy._takes_a_loss
    armed = [True]

    def lose_the_completion(line):
        if armed and line.startswith("POST") and "uploadId=" in line:
            armed.clear()
            proxy.lose_answers = 1
        return original(line)

    proxy._takes_a_loss = lose_the_completion
    behind_proxy.put_file("p/large", source)
    assert len(proxy.lost) == 1
    assert behind_proxy.get("p/large").data == source.read_bytes()


def test_reading_goes_on_where_it_broke(behind_proxy, proxy, tmp_path):
    data = os.urandom(2**20) * 6
    behind_proxy.put("p/large", data)
    for read in (
        lambda: behind_proxy.get("p/large").data,
        lambda: behind_proxy.get("p/large", 5).data,
        lambda: (behind_proxy.get_file("p/large", tmp_path / "f"), (tmp_path / "f").read_bytes())[1],
        lambda: behind_proxy.open("p/large", 5).read(),
    ):
        proxy.cut_after = 3_000_000
        asked = len(proxy.requests)
        got = read()
        assert got in {data, data[5:]}
        assert len(proxy.requests) == asked + 2


def test_a_replaced_object_is_not_stitched_together(behind_proxy, proxy, s3_store):
    behind_proxy.put("p/large", b"1" * 6_000_000)
    proxy.cut_after = 3_000_000
    with behind_proxy.open("p/large") as stream:
        stream.read(100)
        s3_store.put("p/large", b"2" * 6_000_000)
        with pytest.raises(StoreUnavailable, match="replaced"):
            stream.read()


def test_a_store_that_is_away_for_a_moment(behind_proxy, proxy):
    behind_proxy.put("p/a", b"1")
    proxy.go_away()
    back = threading.Timer(1.0, proxy.come_back)
    back.start()
    assert behind_proxy.get("p/a").data == b"1"
    back.join()
    proxy.go_away()
    back = threading.Timer(1.0, proxy.come_back)
    back.start()
    behind_proxy.create("p/b", b"1")  # no connection was made, so nothing can have been sent
    back.join()
    assert behind_proxy.get("p/b").data == b"1"


def test_a_store_that_stays_away(seaweed, s3_bucket, proxy, tmp_path):
    store = S3ObjectStore(seaweed.settings(s3_bucket, proxy.endpoint), retry_for_s=0.5)
    etag = store.put("p/a", b"1")
    proxy.go_away()
    (tmp_path / "f").write_bytes(b"x")
    for call in (
        lambda: store.get("p/a"),
        lambda: store.head("p/a"),
        lambda: store.get_if_changed("p/a", etag),
        lambda: list(store.list("p/")),
        lambda: store.put("p/a", b"2"),
        lambda: store.create("p/b", b"2"),
        lambda: store.compare_and_swap("p/a", b"2", etag),
        lambda: store.delete("p/a"),
        lambda: store.delete_many(["p/a"]),
        lambda: store.get_file("p/a", tmp_path / "g"),
    ):
        begin = datetime.now(UTC)
        with pytest.raises(StoreUnavailable, match=proxy.endpoint):
            call()
        assert datetime.now(UTC) - begin < timedelta(seconds=4)


def test_wrong_keys_are_said_at_once(seaweed, s3_bucket):
    settings = seaweed.settings(s3_bucket)
    store = S3ObjectStore(type(settings)(settings.endpoint, s3_bucket, settings.access_key, "wrong" * 5), retry_for_s=20)
    begin = datetime.now(UTC)
    with pytest.raises(StoreUnavailable, match="AccessDenied"):
        store.get("p/a")
    assert datetime.now(UTC) - begin < timedelta(seconds=5)
    assert "wrong" not in repr(settings)


def test_the_bucket_is_made_where_it_is_missing(seaweed):
    store = S3ObjectStore(seaweed.settings("made-by-the-first-call"), retry_for_s=20)
    with pytest.raises(NotFound):
        store.get("p/a")
    store.put("p/a", b"1")
    other = S3ObjectStore(seaweed.settings("made-by-the-first-call"), retry_for_s=20)
    other.ensure_bucket()
    assert [entry.key for entry in other.list("p/")] == ["p/a"]
