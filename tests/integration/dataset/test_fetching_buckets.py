"""Sources fetched from other buckets of a real SeaweedFS."""

import hashlib
import socket
from dataclasses import replace

import pytest
from fetching import DATA, FILES, Fetcher, Stop
from minio import Minio

from visionyard.dataset.archives.entry import ArchiveLimits
from visionyard.dataset.fetching.s3 import S3Access
from visionyard.kit.errors import Reason, YardError
from visionyard.local import seaweed as weed_process


@pytest.fixture
def bucket(seaweed, s3_bucket):
    """A client of an empty bucket; s3_bucket removes what is in it."""
    client = Minio(seaweed.endpoint, seaweed.access_key, seaweed.secret_key, secure=False, region=weed_process.REGION)

    def put(key, data):
        import io

        client.put_object(s3_bucket, key, io.BytesIO(data), len(data))
        return f"s3://{s3_bucket}/{key}"

    return put


@pytest.fixture
def store(tmp_path, seaweed, s3_bucket):
    (tmp_path / "scratch").mkdir(exist_ok=True)
    access = S3Access(seaweed.endpoint, seaweed.access_key, seaweed.secret_key, weed_process.REGION, secure=False)
    made = Fetcher(tmp_path / "scratch", access)
    made.allow = f"s3://{s3_bucket}"
    return made


def test_an_object(bucket, store):
    fetched = store.good(bucket("sets/my cones.zip", DATA))
    assert (fetched.size_bytes, fetched.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert fetched.etag
    assert fetched.last_modified.endswith("GMT")


def test_a_folder(bucket, store, s3_bucket):
    for path, data in FILES.items():
        bucket(f"sets/cones/{path}", data)
    bucket("sets/cones/.hidden", b"x")
    bucket("sets/cones-not-these/images/1.jpg", b"x")
    fetched = store.good(f"s3://{s3_bucket}/sets/cones/")
    assert (fetched.objects, fetched.size_bytes) == (len(FILES), sum(map(len, FILES.values())))
    assert store.good(f"s3://{s3_bucket}/sets/cones") == replace(fetched, url=f"s3://{s3_bucket}/sets/cones")
    with store.opened(f"s3://{s3_bucket}/sets/cones/", ArchiveLimits(file_bytes=20_000)) as (archive, _):
        for _ in range(2):
            read = {entry.path: (entry.too_large, data) for entry, data in archive.read(lambda entry: entry.path.startswith("labels"))}
        assert read["labels/1.txt"] == (False, FILES["labels/1.txt"])
        assert read["images/1.jpg"] == (True, None)
    bucket("sets/cones/labels/1.txt", b"0 .4 .4 .1 .1\n")
    assert store.read(f"s3://{s3_bucket}/sets/cones/")[1].sha256 != fetched.sha256


def test_a_folder_that_holds_too_much(bucket, store, s3_bucket):
    for i in range(5):
        bucket(f"set/{i}.jpg", b"x" * 1000)
    for limits in (ArchiveLimits(entries=4), ArchiveLimits(unpacked_bytes=4999), ArchiveLimits(path_characters=4)):
        with pytest.raises(YardError) as caught, store.opened(f"s3://{s3_bucket}/set/", limits):
            pass
        assert caught.value.reason in {Reason.ARCHIVE_BOMB, Reason.ARCHIVE_UNSAFE_PATH}


def test_an_object_that_is_replaced_while_its_folder_is_read(bucket, store, s3_bucket):
    for i in range(60):
        bucket(f"set/{i:02}.txt", b"x" * 100)
    with store.opened(f"s3://{s3_bucket}/set/") as (archive, _):
        files = archive.read(lambda _: True)
        next(files)
        bucket("set/59.txt", b"y" * 200)
        with pytest.raises(YardError, match="was replaced while") as caught:
            list(files)
    assert caught.value.reason is Reason.SOURCE_UNREACHABLE


def test_a_stop_is_heard_while_a_folder_is_read(bucket, store, s3_bucket):
    for i in range(3):
        bucket(f"set/{i}.txt", b"x")
    with store.opened(f"s3://{s3_bucket}/set/") as (archive, _):
        files = archive.read(lambda _: True)
        next(files)
        files.close()

    def stop():
        raise Stop

    store.stops = stop
    with pytest.raises(Stop), store.opened(f"s3://{s3_bucket}/set/"):
        pass


def test_what_is_not_there(bucket, store, s3_bucket):
    bucket("sets/cones.zip", DATA)
    for url in (f"s3://{s3_bucket}/sets/nothing.zip", f"s3://{s3_bucket}/nothing/", f"s3://{s3_bucket}/sets/con"):
        assert store.refused(url).reason is Reason.SOURCE_UNREACHABLE
    missing = f"s3://{s3_bucket}-missing/x.zip"
    store.allow = "s3://" + missing.split("/")[2]
    assert store.refused(missing).reason is Reason.SOURCE_UNREACHABLE


@pytest.mark.parametrize("bucket_name", ["1.2.3.4", "team..data", "x-s3alias"])
def test_a_name_that_no_bucket_can_have(store, bucket_name):
    store.allow = f"s3://{bucket_name}"
    for url in (f"s3://{bucket_name}/x.zip", f"s3://{bucket_name}/x/"):
        assert store.refused(url).reason is Reason.SOURCE_UNREACHABLE


def test_a_bucket_that_is_missing_is_not_made(store, seaweed, s3_bucket):
    store.allow = f"s3://{s3_bucket}-missing"
    store.refused(f"{store.allow}/x/")
    client = Minio(seaweed.endpoint, seaweed.access_key, seaweed.secret_key, secure=False, region=weed_process.REGION)
    assert not client.bucket_exists(f"{s3_bucket}-missing")


def test_wrong_keys_are_told_at_once(bucket, store):
    url = bucket("x.zip", DATA)
    store.access = replace(store.access, secret_key="wrong")
    error = store.refused(url)
    assert "VISIONYARD_IMPORT_S3_ACCESS_KEY" in error.message
    assert "wrong" not in error.message
    store.access = replace(store.access, access_key="", secret_key="")
    assert store.refused(url).reason is Reason.SOURCE_UNREACHABLE


def test_a_store_that_is_away_is_given_up(store, s3_bucket, monkeypatch):
    monkeypatch.setattr("visionyard.dataset.fetching.s3._RETRY_S", 0.1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store.access = replace(store.access, endpoint=f"127.0.0.1:{taken.getsockname()[1]}")
        for url in (f"s3://{s3_bucket}/x.zip", f"s3://{s3_bucket}/x/"):
            assert store.refused(url).reason is Reason.SOURCE_UNREACHABLE


def test_a_bucket_that_is_not_listed(store, s3_bucket):
    store.allow = f"s3://{s3_bucket}/sets"
    for url in (f"s3://{s3_bucket}/", f"s3://{s3_bucket}/other/x.zip", f"s3://{s3_bucket}x/sets/x.zip"):
        assert store.refused(url).reason is Reason.SOURCE_NOT_ALLOWED
    store.allow, store.access = f"s3://{s3_bucket}", None
    assert store.refused(f"s3://{s3_bucket}/x.zip").reason is Reason.SOURCE_NOT_ALLOWED
