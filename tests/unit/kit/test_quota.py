"""Bytes are admitted into a project as long as it has room, without a listing for each."""

from datetime import UTC, datetime, timedelta

import pytest

from visionyard.kit.errors import Code, Reason, YardError
from visionyard.kit.names import ProjectName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.quota import ProjectQuota
from visionyard.kit.status import from_status, to_status
from visionyard.kit.transfer.uploads import UploadStore

EMPTY = "a" * 64


class Counting(MemoryObjectStore):
    listings = 0

    def list(self, prefix, **words):
        self.listings += 1
        return super().list(prefix, **words)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def store():
    return Counting()


@pytest.fixture
def clock():
    return Clock()


def refused(call):
    with pytest.raises(YardError) as caught:
        call()
    assert caught.value.reason is Reason.QUOTA_EXCEEDED
    return caught.value


def test_what_is_admitted_counts_before_it_arrives(store, clock):
    store.put("projects/p/blobs/1", bytes(400))
    quota = ProjectQuota(store, 1000, clock)
    quota.admit("p", 300)
    quota.admit("p", 300)
    assert store.listings == 1
    error = refused(lambda: quota.admit("q", 1001))
    assert (error.metadata["used_bytes"], error.metadata["limit_bytes"]) == ("0", "1000")
    quota.admit("q", 1000)


def test_before_anything_is_refused_the_project_is_listed_anew(store, clock):
    store.put("projects/p/blobs/1", bytes(900))
    quota = ProjectQuota(store, 1000, clock)
    refused(lambda: quota.admit("p", 200))
    store.delete("projects/p/blobs/1")
    quota.admit("p", 200)


def test_others_bytes_are_seen_within_a_minute(store, clock):
    quota = ProjectQuota(store, 1000, clock)
    quota.admit("p", 10)
    store.put("projects/p/blobs/1", bytes(995))
    quota.admit("p", 10)  # not seen yet
    clock.now += 61
    refused(lambda: quota.admit("p", 10))


def test_what_passes_does_not_count(store, clock):
    store.put("projects/p/uploads/u/parts/0", bytes(800))
    quota = ProjectQuota(store, 1000, clock)
    refused(lambda: quota.admit("p", 700))
    quota.admit("p", 700, passing_bytes=800)
    store.put("projects/p/shards/1.tar", bytes(700))
    refused(lambda: quota.admit("p", 400, passing_bytes=800))


def test_without_a_quota_nothing_is_listed(store):
    ProjectQuota(store, 0).admit("p", 1 << 60)
    assert store.listings == 0


def test_an_upload_is_refused_before_its_first_byte_and_one_that_was_begun_goes_on(store, clock):
    uploads = UploadStore(store, 1 << 30, ProjectQuota(store, 1000, clock))
    first = uploads.start(ProjectName("p"), 900, EMPTY, "a")
    before = list(store.list(""))
    refused(lambda: uploads.start(ProjectName("p"), 900, EMPTY, "b"))
    assert list(store.list("")) == before
    store.put("projects/p/blobs/1", bytes(2000))
    clock.now += 61
    assert uploads.start(ProjectName("p"), 900, EMPTY, "a") == first


def test_announced_uploads_count_for_every_service(store, clock):
    name = UploadStore(store, 1 << 30, ProjectQuota(store, 1000, clock)).start(ProjectName("p"), 900, EMPTY, "a").name
    other = ProjectQuota(store, 1000, clock)
    refused(lambda: other.admit("p", 200))
    store.put(f"{name}/parts/{0:016d}", bytes(850))
    refused(lambda: other.admit("p", 200))
    UploadStore(store, 1 << 30).delete(name)
    other.admit("p", 200)


def test_an_upload_that_stands_still_counts_with_what_came(clock):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store = MemoryObjectStore(lambda: now)
    UploadStore(store, 1 << 30).start(ProjectName("p"), 900, EMPTY, "a")
    refused(lambda: ProjectQuota(store, 1000, clock).admit("p", 500))
    now += timedelta(hours=2)
    ProjectQuota(store, 1000, clock).admit("p", 500)


def test_the_refusal_on_the_wire(store, clock):
    store.put("projects/p/blobs/1", bytes(1_500_000))
    error = refused(lambda: ProjectQuota(store, 2_000_000, clock).admit("p", 600_000))
    assert "1.5 MB of the 2.0 MB" in error.message
    assert "600.0 kB more" in error.message
    status = to_status(error)
    assert from_status(status).code is Code.RESOURCE_EXHAUSTED
    (quota,) = [detail for detail in status.details if detail.type_url.endswith("google.rpc.QuotaFailure")]
    assert b"projects/p" in quota.value
