"""Imports from addresses, through the service: what is refused at once, what is fetched, and a worker that is stopped while it fetches."""

import hashlib
import io
import os
import signal
import threading
import time
import uuid

import grpc
import pytest
from grpc_status import rpc_status
from minio import Minio
from minio.deleteobjects import DeleteObject
from tests.integration.dataset.conftest import Room, reason
from tests.unit.dataset.conftest import good_set, zipped

from visionyard.dataset.v1 import import_job_service_pb2
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName
from visionyard.local import seaweed as weed_process

DATA = zipped(good_set(6))


@pytest.fixture
def sources(seaweed, s3_bucket):
    """Another bucket of the same store: its name, and what puts objects into it."""
    name = f"{s3_bucket}-src"
    client = Minio(seaweed.endpoint, seaweed.access_key, seaweed.secret_key, secure=False, region=weed_process.REGION)
    client.make_bucket(name)
    yield name, lambda key, data: client.put_object(name, key, io.BytesIO(data), len(data))
    for _ in client.remove_objects(name, (DeleteObject(entry.object_name) for entry in client.list_objects(name, recursive=True))):
        pass
    client.remove_bucket(name)


@pytest.fixture
def room(seaweed_settings, s3_store, tmp_path, web, sources):
    settings = {
        "VISIONYARD_IMPORT_ALLOW": f"{web.root}/open, s3://{sources[0]}/sets",
        "VISIONYARD_IMPORT_S3_OWN_STORE": "true",
        "VISIONYARD_IMPORT_FETCH_PATIENCE_S": "1",
    }
    running = Room({**seaweed_settings, **settings}, s3_store, tmp_path)
    running.start()
    yield running
    running.stop()
    assert not running.workers()
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file() and path.stat().st_size > 1000]


def fetched(room, job):
    """What the job recorded of its source."""
    return JobRecords(room.store, JobKind.IMPORT).get(ResourceName.parse(job.name, "importJobs")).pointers["fetched"]


def run(room, url, dataset="set"):
    return room.watch(room.create("", dataset, source_url=url).name)[-1]


def test_an_import_from_an_address(room, web):
    url = web.file("/open/cones.zip", DATA, drop_after=len(DATA) // 3)
    job = run(room, f"{url}?signature=x")
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
    assert (job.spec.upload, job.spec.source_url) == ("", f"{url}?signature=x")
    assert job.dataset_version.image_count == 9
    record = fetched(room, job)
    assert (record["url"], record["sha256"], record["etag"]) == (url, hashlib.sha256(DATA).hexdigest(), '"one"')
    again = run(room, url)
    assert again.dataset_version == job.dataset_version
    assert "VERSION_UNCHANGED" in [finding.code for finding in again.report.findings]
    room.good(DATA, "uploaded")
    assert room.version("uploaded").digest == job.dataset_version.digest


def test_the_same_request_is_the_same_job(room, web):
    url, request_id = web.file("/open/x.zip", DATA), str(uuid.uuid4())
    name = room.create("", "set", request_id, source_url=url).name
    assert room.create("", "set", request_id, source_url=url).name == name
    room.watch(name)
    assert room.create("", "set", request_id, source_url=url).name == name


def test_an_import_from_another_bucket(room, sources):
    bucket, put = sources
    put("sets/cones.zip", DATA)
    job = run(room, f"s3://{bucket}/sets/cones.zip")
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
    for path, data in good_set(6).items():
        put(f"sets/folder/{path}", data.encode() if isinstance(data, str) else data)
    folder = run(room, f"s3://{bucket}/sets/folder/", "folder")
    assert folder.status.state == job_pb2.JOB_STATE_SUCCEEDED, folder.status
    assert folder.dataset_version.digest == job.dataset_version.digest
    assert fetched(room, folder)["objects"] == 19


REFUSED = {
    "http://169.254.169.254/latest/": "SOURCE_NOT_ALLOWED",
    "{root}/secret.zip": "SOURCE_NOT_ALLOWED",
    "s3://visionyard/projects/": "SOURCE_NOT_ALLOWED",
    "file:///etc/passwd": "INVALID_FIELD",
    "http://user:hidden@127.0.0.1/open/x": "INVALID_FIELD",
    "": "INVALID_FIELD",
}


def test_what_is_not_listed_is_refused_at_once(room, web):
    before = room.listing()
    for url, wanted in REFUSED.items():
        with pytest.raises(grpc.RpcError) as caught:
            room.create("", "set", source_url=url.format(root=web.root))
        assert reason(rpc_status.from_call(caught.value)) == wanted, url
        assert "hidden" not in caught.value.details()
    with pytest.raises(grpc.RpcError) as caught:
        room.create("projects/default/uploads/x", "set", source_url=f"{web.root}/open/x.zip")
    assert reason(rpc_status.from_call(caught.value)) == "INVALID_FIELD"
    assert room.listing() == before
    assert web.asked == []


FAILING = [
    (lambda r: r.head(404, Content_Length=0), "SOURCE_UNREACHABLE"),
    (lambda r: r.head(503, Content_Length=0), "SOURCE_UNREACHABLE"),
    (lambda r: r.head(302, Location="http://169.254.169.254/", Content_Length=0), "SOURCE_NOT_ALLOWED"),
    (lambda r: r.head(200, Content_Length=1 << 50), "REQUEST_TOO_LARGE"),
    (lambda r: (r.head(200, Content_Length=5), r.wfile.write(b"hello")), "ARCHIVE_UNREADABLE"),
]


def test_a_source_that_fails_leaves_the_jobs_record_only(room, web):
    for answer, wanted in FAILING:
        before = room.listing()
        job = run(room, web.serve("/open/x.zip", answer))
        assert job.status.state == job_pb2.JOB_STATE_FAILED
        assert reason(job.status.error) == wanted
        assert all(key.startswith(job.name) for key in room.listing() - before)


@pytest.fixture
def halting(room, web):
    """A job whose source sends half of itself and then nothing; from the second request on it sends all at once."""
    asked = threading.Event()

    def answer(request):
        request.head(200, Content_Length=len(DATA), ETag='"one"')
        if asked.is_set():
            request.wfile.write(DATA)
            return
        request.wfile.write(DATA[: len(DATA) // 2])
        asked.set()
        web.ended.wait(60)

    job = room.create("", "set", source_url=web.serve("/open/x.zip", answer))
    assert asked.wait(60)
    return job


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_stopped_while_it_fetches_is_followed_by_another(room, halting, signal_):
    [pid] = room.workers()
    os.kill(pid, signal_)
    job = room.watch(halting.name)[-1]
    assert (job.status.state, job.status.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2)
    assert fetched(room, job)["sha256"] == hashlib.sha256(DATA).hexdigest()


def test_a_cancelled_fetch_leaves_the_jobs_record_only(room, halting):
    before = {key for key in room.listing() if not key.startswith((halting.name, "queue/"))}
    ended = halting.name.rpartition("/")[0]
    waiting = room.create("", "set", source_url=halting.spec.source_url)
    for name in (waiting.name, halting.name):
        room.imports.CancelImportJob(import_job_service_pb2.CancelImportJobRequest(name=name))
    assert room.watch(waiting.name)[-1].status.state == job_pb2.JOB_STATE_CANCELLED
    job = room.watch(halting.name)[-1]
    assert job.status.state == job_pb2.JOB_STATE_CANCELLED
    end = time.monotonic() + 20
    while left := {key for key in room.listing() if not key.startswith(ended)} - before:
        assert time.monotonic() < end, left
        time.sleep(0.1)
