import hashlib
import io
import os
import random
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta

import google_crc32c
import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import OutcomeUnknown, StoreUnavailable
from visionyard.kit.transfer.parts import PART_BYTES, Part, store_part
from visionyard.kit.transfer.uploads import UploadStore

P = ProjectName("default")
LIMIT = 100 * 2**20
CHUNK = 2**20


@pytest.fixture
def store():
    return MemoryObjectStore()


@pytest.fixture
def uploads(store):
    return UploadStore(store, LIMIT)


def start(uploads, data, request_id="r"):
    return uploads.start(P, len(data), hashlib.sha256(data).hexdigest(), request_id)


def send(writer, data, begin=None, end=None, chunk=CHUNK):
    """Sends data[begin:end] and stores all of it."""
    begin = writer.position if begin is None else begin
    end = len(data) if end is None else end
    while begin < end:
        piece = data[begin : min(begin + chunk, end)]
        part = writer.add(begin, piece, google_crc32c.value(piece))
        if part is not None:
            writer.store(part)
        begin += len(piece)
    rest = writer.rest()
    if rest is not None:
        writer.store(rest)


def keys(store):
    return [entry.key for entry in store.list("")]


def test_one_stream(uploads, store):
    data = os.urandom(2 * PART_BYTES + 12345)
    upload = start(uploads, data)
    assert (upload.committed, upload.complete, upload.size) == (0, False, len(data))
    writer = uploads.writer(upload.name)
    send(writer, data)
    done = writer.finish()
    assert (done.committed, done.complete) == (len(data), True)
    assert done == uploads.get(upload.name)
    with uploads.open(upload.name) as file:
        assert file.read() == data
    assert [key.rsplit("/", 1)[1] for key in keys(store) if "/parts/" in key] == [f"{n * PART_BYTES:016d}" for n in range(3)]
    uploads.delete(upload.name)
    uploads.delete(upload.name)
    assert keys(store) == []


def test_the_same_start_finds_the_same_upload(uploads):
    data = b"x" * 10
    first = start(uploads, data)
    assert start(uploads, data) == first
    assert start(uploads, data, "other").name != first.name
    assert start(uploads, b"y" * 10).name != first.name
    assert uploads.start(ProjectName("p2"), 10, first.sha256, "r").name.id != first.name.id
    assert len(first.name.id) == 32


def test_a_broken_stream_goes_on_where_it_broke(uploads):
    data = os.urandom(PART_BYTES + 3 * CHUNK)
    name = start(uploads, data).name
    send(uploads.writer(name), data, end=PART_BYTES + CHUNK + 17)
    assert uploads.get(name).committed == PART_BYTES + CHUNK + 17
    writer = uploads.writer(name)
    assert writer.position == PART_BYTES + CHUNK + 17
    send(writer, data, end=len(data) - 1)
    assert not writer.finish().complete
    writer = uploads.writer(name)
    send(writer, data)
    assert writer.finish().complete
    with uploads.open(name) as file:
        assert file.read() == data


def test_two_writers_at_once_do_no_harm(uploads):
    rng = random.Random(7)
    data = os.urandom(3 * PART_BYTES + 99)
    for seed in range(5):
        name = start(uploads, data, str(seed)).name
        first, second = uploads.writer(name), uploads.writer(name)
        for _ in range(4):
            send(first, data, end=min(first.position + rng.randrange(1, PART_BYTES), len(data)))
            send(second, data, end=min(second.position + rng.randrange(1, PART_BYTES), len(data)))
            send(uploads.writer(name), data, end=min(uploads.get(name).committed + 1000, len(data)))
        send(first, data)
        send(second, data)
        assert first.finish().complete
        assert second.finish().complete
        with uploads.open(name) as file:
            assert file.read() == data


def test_a_gap_ends_what_counts(uploads, store):
    data = os.urandom(100)
    name = start(uploads, data).name
    store_part(store, f"{name}/parts/", Part(0, data[:40]))
    store_part(store, f"{name}/parts/", Part(60, data[60:]))
    assert uploads.get(name).committed == 40
    writer = uploads.writer(name)
    send(writer, data)
    assert writer.finish().complete


def test_nothing_is_a_file_too(uploads, store):
    upload = start(uploads, b"")
    assert (upload.complete, upload.committed) == (True, 0)
    with uploads.open(upload.name) as file:
        assert file.read() == b""
    assert uploads.writer(upload.name).finish().complete


def refused(reason, call):
    with pytest.raises(YardError) as error:
        call()
    assert error.value.reason is reason
    return error.value


def test_wrong_bytes_are_deleted(uploads, store):
    for cut in (None, 50):
        data = os.urandom(100)
        name = uploads.start(P, 100, "0" * 64, str(cut)).name
        if cut:
            send(uploads.writer(name), data, end=cut)
        writer = uploads.writer(name)
        send(writer, data)
        refused(Reason.UPLOAD_CORRUPT, writer.finish)
        assert keys(store) == []
        refused(Reason.UPLOAD_NOT_FOUND, lambda name=name: uploads.get(name))


def test_a_part_that_another_had_stored_is_read_back(uploads, store):
    data = os.urandom(100)
    name = start(uploads, data).name
    writer = uploads.writer(name)
    store_part(store, f"{name}/parts/", Part(0, b"x" * 100))
    send(writer, data)
    refused(Reason.UPLOAD_CORRUPT, writer.finish)


def test_chunks_that_do_not_fit(uploads):
    data = os.urandom(100)
    name = start(uploads, data).name
    writer = uploads.writer(name)
    assert writer.add(0, data[:10], google_crc32c.value(data[:10])) is None
    for offset, piece in ((9, b"x"), (11, b"x"), (0, b""), (-1, b"x"), (10, b"x" * 91)):
        error = refused(Reason.UPLOAD_OFFSET_MISMATCH, lambda o=offset, p=piece: writer.add(o, p, google_crc32c.value(p)))
        assert error.metadata == {"committed_bytes": "10"}
    assert refused(Reason.UPLOAD_CORRUPT, lambda: writer.add(10, b"x", 1)).metadata == {"offset": "10"}
    assert refused(Reason.REQUEST_TOO_LARGE, lambda: writer.add(10, b"x" * (2 * CHUNK + 1), 1)).metadata["limit_bytes"] == str(2 * CHUNK)
    send(writer, data)
    assert writer.finish().complete
    refused(Reason.UPLOAD_OFFSET_MISMATCH, lambda: uploads.writer(name).add(0, b"x", google_crc32c.value(b"x")))


@pytest.mark.parametrize(
    ("size", "sha256", "request_id", "reason"),
    [
        (-1, "0" * 64, "", Reason.INVALID_FIELD),
        (1, "0" * 63, "", Reason.INVALID_FIELD),
        (1, "A" * 64, "", Reason.INVALID_FIELD),
        (0, "0" * 64, "", Reason.INVALID_FIELD),
        (1, "0" * 64, "r" * 201, Reason.INVALID_FIELD),
        (LIMIT + 1, "0" * 64, "", Reason.REQUEST_TOO_LARGE),
    ],
)
def test_starts_that_are_refused(uploads, store, size, sha256, request_id, reason):
    refused(reason, lambda: uploads.start(P, size, sha256, request_id))
    assert keys(store) == []


def test_uploads_that_are_not_there_or_not_whole(uploads):
    missing = ResourceName("default", "uploads", "0" * 32)
    for call in (uploads.get, uploads.writer, uploads.open):
        assert refused(Reason.UPLOAD_NOT_FOUND, lambda call=call: call(missing)).metadata == {"name": str(missing)}
    data = os.urandom(100)
    name = start(uploads, data).name
    send(uploads.writer(name), data, end=60)
    assert refused(Reason.UPLOAD_INCOMPLETE, lambda: uploads.open(name)).metadata == {"committed_bytes": "60", "size_bytes": "100"}


def test_archives_are_read_in_place(uploads):
    raw = io.BytesIO()
    content = os.urandom(5 * 2**20)
    with zipfile.ZipFile(raw, "w") as archive:
        for i in range(6):
            archive.writestr(f"{i}.bin", content[i:])
    name = start(uploads, raw.getvalue()).name
    writer = uploads.writer(name)
    send(writer, raw.getvalue())
    writer.finish()
    with uploads.open(name) as file, zipfile.ZipFile(file) as archive:
        for i in (5, 0, 3, 1):
            assert archive.read(f"{i}.bin") == content[i:]
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        info = tarfile.TarInfo("a.bin")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    name = start(uploads, raw.getvalue()).name
    writer = uploads.writer(name)
    send(writer, raw.getvalue())
    writer.finish()
    with uploads.open(name) as file, tarfile.open(fileobj=file) as archive:
        assert archive.extractfile("a.bin").read() == content


def test_seeking_like_a_file(uploads):
    rng = random.Random(3)
    data = os.urandom(4 * PART_BYTES + 5)
    name = start(uploads, data).name
    send(uploads.writer(name), data, end=PART_BYTES + 100)
    writer = uploads.writer(name)
    send(writer, data)
    writer.finish()
    like = io.BytesIO(data)
    with uploads.open(name) as file:
        assert file.seekable()
        assert not file.writable()
        for _ in range(60):
            offset, whence = rng.choice(
                [(rng.randrange(len(data) + 10), 0), (-rng.randrange(len(data)), 2), (PART_BYTES * rng.randrange(5) - 3, 0)]
            )
            offset = max(offset, 0) if whence == 0 else offset
            assert file.seek(offset, whence) == like.seek(offset, whence)
            size = rng.randrange(100_000)
            assert file.read(size) == like.read(size)
            assert file.tell() == like.tell()
        with pytest.raises(ValueError, match="cannot seek"):
            file.seek(-len(data) - 1, 2)


def test_a_deleted_upload_under_a_reader(uploads):
    data = os.urandom(PART_BYTES + 5)
    name = start(uploads, data).name
    writer = uploads.writer(name)
    send(writer, data)
    writer.finish()
    with uploads.open(name) as file:
        file.read(10)
        uploads.delete(name)
        refused(Reason.UPLOAD_NOT_FOUND, file.read)


def test_abandoned_uploads_are_swept():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    store = MemoryObjectStore(clock=lambda: now)
    uploads = UploadStore(store, LIMIT)
    data = os.urandom(100)
    old = start(uploads, data, "old").name
    going_on = start(uploads, data, "going on").name
    orphan = ResourceName("other", "uploads", "1" * 32)
    store.put(f"{orphan}/parts/{0:016d}", b"x")
    store.put("projects/default/datasets/d/versions/00000001.json", b"{}")
    now += timedelta(days=5)
    send(uploads.writer(going_on), data, end=50)
    now += timedelta(days=3)
    assert sorted(map(str, uploads.sweep(timedelta(days=7)))) == sorted([str(old), str(orphan)])
    assert uploads.get(going_on).committed == 50
    assert keys(store) == [
        "projects/default/datasets/d/versions/00000001.json",
        f"{going_on}/parts/{0:016d}",
        f"{going_on}/upload.json",
    ]


class Forgetful(MemoryObjectStore):
    """Loses answers; every second lost write has not happened."""

    lose = 0

    def create(self, key, data):
        if self.lose and "/parts/" in key:
            self.lose -= 1
            if self.lose % 2:
                super().create(key, data)
            raise OutcomeUnknown(key)
        return super().create(key, data)


@pytest.mark.parametrize("lose", [1, 2, 3, 4])
def test_lost_answers_lose_no_part(lose):
    store = Forgetful()
    uploads = UploadStore(store, LIMIT)
    data = os.urandom(2 * PART_BYTES + 7)
    writer = uploads.writer(start(uploads, data).name)
    store.lose = lose
    send(writer, data)
    assert writer.finish().complete


def test_a_store_that_never_answers():
    store = Forgetful()
    uploads = UploadStore(store, LIMIT)
    data = os.urandom(10)
    writer = uploads.writer(start(uploads, data).name)
    store.create = lambda key, data: (_ for _ in ()).throw(OutcomeUnknown(key))
    with pytest.raises(StoreUnavailable):
        send(writer, data)


def test_a_sha256_may_come_with_the_last_chunk(uploads):
    data = os.urandom(CHUNK + 3)
    name = uploads.start(P, len(data), "", "r").name
    assert uploads.start(P, len(data), "", "r").name == name
    assert uploads.start(P, len(data), "", "other").name != name
    writer = uploads.writer(name)
    send(writer, data)
    assert not writer.finish().complete, "nobody has said what it must be"
    writer = uploads.writer(name)
    assert writer.add(len(data), b"", google_crc32c.value(b"")) is None
    writer.announce(hashlib.sha256(data).hexdigest())
    upload = writer.finish()
    assert upload.complete
    assert upload.sha256 == hashlib.sha256(data).hexdigest()
    assert uploads.get(name) == upload


def test_a_wrong_sha256_at_the_end_is_noticed(uploads):
    data = os.urandom(CHUNK + 3)
    name = uploads.start(P, len(data), "", "r").name
    writer = uploads.writer(name)
    send(writer, data)
    writer.announce("0" * 64)
    with pytest.raises(YardError) as caught:
        writer.finish()
    assert caught.value.reason is Reason.UPLOAD_CORRUPT
    with pytest.raises(YardError) as caught:
        uploads.get(name)
    assert caught.value.reason is Reason.UPLOAD_NOT_FOUND


def test_without_a_sha256_there_must_be_a_request_id(uploads):
    data = os.urandom(CHUNK + 3)
    for sha256, request_id in (("", ""), ("0" * 63, "r")):
        with pytest.raises(YardError) as caught:
            uploads.start(P, len(data), sha256, request_id)
        assert caught.value.reason is Reason.INVALID_FIELD
    with pytest.raises(YardError) as caught:
        uploads.writer(uploads.start(P, len(data), "", "r").name).announce("A" * 64)
    assert caught.value.reason is Reason.INVALID_FIELD
