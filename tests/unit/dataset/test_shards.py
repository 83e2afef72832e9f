"""Shards: what is written is a tar that any tar reads, and handing one over does not wait until it is stored."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from datetime import UTC, datetime

import pytest

from visionyard.dataset.publishing import Publisher
from visionyard.dataset.shards import ShardWriter
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import StoreUnavailable


def test_images_lie_where_their_places_say(tmp_path):
    stored = {}
    writer = ShardWriter("p", tmp_path, "maker 1", lambda key, path: stored.update({key: path.read_bytes()}), limit=4096)
    images = {hashlib.sha256(b"x" * n).hexdigest(): b"x" * n for n in (1, 511, 512, 513, 1500, 9000)}
    places = {sha256: writer.add(sha256, "jpg", data) for sha256, data in images.items()}
    writer.close()
    assert len(stored) > 1
    assert list(stored) == writer.keys
    assert sum(map(len, stored.values())) == writer.stored_bytes
    for key, data in stored.items():
        assert key == f"projects/p/shards/{hashlib.sha256(data).hexdigest()}.tar"
    for sha256, data in images.items():
        place = writer.resolve(places[sha256])
        assert stored[place.shard][place.offset : place.offset + place.length] == data
    members = {}
    for data in stored.values():
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    assert members == {f"{sha256}.jpg": data for sha256, data in images.items()}


class SlowStore(MemoryObjectStore):
    """Takes files only when it is told to."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()
        self.failure = None

    def put_file(self, key, path):
        assert self.go.wait(30)
        if self.failure:
            raise self.failure
        return super().put_file(key, path)


@pytest.fixture
def slow():
    return SlowStore()


@pytest.fixture
def publisher(slow):
    announced = []
    made = Publisher(
        slow,
        ResourceName("p", "datasets", "d"),
        ResourceName("p", "importJobs", "j"),
        1,
        datetime.now(UTC),
        {},
        lambda **_: None,
        lambda **pointers: announced.append(pointers["written"]),
    )
    made.announced = announced
    return made


def test_a_shard_is_announced_at_once_and_stored_beside_the_work(publisher, slow, tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    publisher.store_shard("projects/p/shards/one.tar", tmp_path / "one")
    assert publisher.announced == [["projects/p/shards/one.tar"]]
    assert not list(slow.list("projects/p/shards/"))
    slow.go.set()
    (tmp_path / "two").write_bytes(b"2")
    publisher.store_shard("projects/p/shards/two.tar", tmp_path / "two")  # waits for the first
    assert slow.get("projects/p/shards/one.tar").data == b"1"
    assert not (tmp_path / "one").exists()


def test_what_goes_wrong_with_a_shard_stops_the_next_one(publisher, slow, tmp_path):
    slow.failure = StoreUnavailable("away")
    slow.go.set()
    (tmp_path / "one").write_bytes(b"1")
    publisher.store_shard("projects/p/shards/one.tar", tmp_path / "one")
    with pytest.raises(StoreUnavailable, match="away"):
        publisher.store_shard("projects/p/shards/two.tar", tmp_path / "one")


def test_a_shard_on_its_way_is_waited_for_before_all_is_deleted(publisher, slow, tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    publisher.store_shard("projects/p/shards/one.tar", tmp_path / "one")
    timer = threading.Timer(0.2, slow.go.set)
    timer.start()
    publisher.abandon()
    timer.join()
    assert not list(slow.list("projects/"))
