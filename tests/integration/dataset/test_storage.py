"""Deletion, collections and quotas on a real SeaweedFS, through the service as a process."""

import json
import random
import socket
import threading
import time

import grpc
import psutil
import pytest
from google.protobuf import duration_pb2
from grpc_status import rpc_status
from tests.integration.dataset.conftest import Room, reason
from tests.integration.dataset.test_room import generated

from visionyard.dataset.v1 import dataset_service_pb2, dataset_service_pb2_grpc, storage_service_pb2, storage_service_pb2_grpc
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.artifacts.dataset import read_dataset_version, read_images
from visionyard.kit.names import VersionName
from visionyard.transfer.v1 import transfer_service_pb2, transfer_service_pb2_grpc

NOW = duration_pb2.Duration()


def collect(room, *, dry_run=False):
    """A collection without a grace period; waits for one that a killed service had begun."""
    request = storage_service_pb2.CollectStorageRequest(parent="projects/default", grace=NOW, validate_only=dry_run)
    end = time.monotonic() + 60
    while True:
        try:
            *_, last = room.storage.CollectStorage(request, timeout=120)
        except grpc.RpcError as error:
            if reason(rpc_status.from_call(error)) != "COLLECTION_RUNNING" or time.monotonic() > end:
                raise
            time.sleep(0.5)
        else:
            return last.collection


def delete(room, name, *, dry_run=False):
    return room.datasets.DeleteDataset(
        dataset_service_pb2.DeleteDatasetRequest(name=f"projects/default/datasets/{name}", validate_only=dry_run)
    ).deletion


def objects(room):
    """What lies in the bucket, but for the documents of collections, datasets and jobs."""
    return {
        entry.key: entry.size
        for entry in room.store.list("projects/default/")
        if entry.key.split("/")[2] in {"shards", "manifests", "reports", "index", "pins", "uploads"}
    }


def whole(room, name):
    """How many images a dataset's newest version gives, each checked against its sha256."""
    version = read_dataset_version(room.store, VersionName.parse(f"projects/default/datasets/{name}/versions/-", "datasets"))
    return sum(1 for _ in read_images(room.store, room.rows(name), version))


def test_what_was_deleted_is_gone_from_the_bucket_and_nothing_else(room):
    room.good(generated(40, seed=1), "kept")
    kept = objects(room)
    room.good(generated(60, seed=2), "own")
    before = objects(room)
    assert len(delete(room, "own", dry_run=True).versions) == 1
    assert objects(room) == before
    deletion = delete(room, "own")
    rehearsed = collect(room, dry_run=True)
    assert objects(room) == before
    freed = collect(room)
    after = objects(room)
    assert freed.freed_bytes == sum(before.values()) - sum(after.values()) > 0
    assert rehearsed.freed_bytes <= freed.freed_bytes
    assert deletion.freeable_bytes * 0.95 <= freed.freed_bytes
    assert {key for key in after if "/index/" not in key} == {key for key in kept if "/index/" not in key}
    assert whole(room, "kept") == 40
    again = collect(room)
    assert (again.freed_bytes, list(again.unknown_keys)) == (0, [])
    shown = room.storage.GetStorage(storage_service_pb2.GetStorageRequest(parent="projects/default")).storage
    assert shown.total.bytes == sum(entry.size for entry in room.store.list("projects/default/"))
    assert not any(use.unreferenced.bytes for use in shown.uses)
    assert shown.quota_bytes == 10_000_000_000
    with pytest.raises(grpc.RpcError) as caught:
        delete(room, "own")
    assert reason(rpc_status.from_call(caught.value)) == "DATASET_NOT_FOUND"


def test_most_of_a_shard_goes_and_what_stays_is_moved(room):
    room.good(generated(60, seed=3), "big")
    room.good(generated(10, seed=3), "small")
    first = room.version("small")
    before = objects(room)
    delete(room, "big")
    freed = collect(room)
    assert freed.rewritten_shard_count == 1
    # The version's own document, which is not among `objects`, is all that was changed in place.
    assert freed.freed_bytes == sum(before.values()) - sum(objects(room).values()) > 0
    assert whole(room, "small") == 10
    assert room.version("small") == first
    assert collect(room).freed_bytes == 0


def test_imports_deletions_and_collections_at_once(room):
    """Each import finds the images of the one before, whose dataset is deleted while it runs, under collections without end."""
    archive, stop, failed = generated(30, seed=4), threading.Event(), []

    def collecting():
        while not stop.is_set():
            try:
                collect(room)
            except Exception as error:  # noqa: BLE001 - handed to the test
                failed.append(error)
                return

    collector = threading.Thread(target=collecting)
    collector.start()
    try:
        job = room.create(room.upload(archive), "round-0")
        assert room.watch(job.name)[-1].status.state == job_pb2.JOB_STATE_SUCCEEDED
        for n in range(1, 7):
            job = room.create(room.upload(archive), f"round-{n}")
            time.sleep(random.uniform(0, 1.5))
            delete(room, f"round-{n - 1}")
            ended = room.watch(job.name)[-1]
            assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED, ended.status
            assert whole(room, f"round-{n}") == 30
    finally:
        stop.set()
        collector.join()
    assert not failed
    collect(room)
    assert whole(room, "round-6") == 30
    delete(room, "round-6")
    collect(room)
    assert objects(room) == {}


def test_a_service_killed_over_a_collection_leaves_a_right_bucket_and_the_next_one_finishes(room):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chosen = random.Random(seed)
    room.good(generated(60, seed=5), "big")
    room.good(generated(10, seed=5), "small")
    for n in range(8):
        room.good(generated(3, seed=100 + n), f"gone-{n}")
        delete(room, f"gone-{n}")
    delete(room, "big")
    request = storage_service_pb2.CollectStorageRequest(parent="projects/default", grace=NOW)
    killed = threading.Timer(chosen.uniform(0.02, 0.4), room.process.kill)
    call = room.storage.CollectStorage(request, timeout=60)
    killed.start()
    try:
        for _ in call:
            pass
    except grpc.RpcError:
        pass
    killed.join()
    room.process.wait()
    room.channel.close()
    room.start()
    assert whole(room, "small") == 10
    collect(room)
    assert whole(room, "small") == 10
    kinds = sorted(key.split("/")[2] for key in objects(room))
    assert kinds == ["index", "manifests", "reports", "shards"]
    assert collect(room).freed_bytes == 0


def test_a_quota_refuses_uploads_and_imports(seaweed_settings, s3_store, tmp_path):
    archive = generated(30, seed=6)
    room = Room({**seaweed_settings, "VISIONYARD_PROJECT_QUOTA_BYTES": str(int(len(archive) * 1.5))}, s3_store, tmp_path)
    room.start()
    try:
        room.good(archive, "fits")  # archive and shards together would not
        with pytest.raises(grpc.RpcError) as caught:
            room.upload(generated(30, seed=7))
        status = rpc_status.from_call(caught.value)
        assert reason(status) == "QUOTA_EXCEEDED"
        assert any("QuotaFailure" in detail.type_url for detail in status.details)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        upload = room.upload(generated(10, seed=8))
        s3_store.put("projects/default/blobs/" + "0" * 64, bytes(len(archive)))
        ended = room.watch(room.create(upload, "late").name)[-1]
        assert ended.status.state == job_pb2.JOB_STATE_FAILED
        assert reason(ended.status.error) == "QUOTA_EXCEEDED"
        assert not any("/uploads/" in key or "/pins/" in key for key in room.listing())
        assert sum("/shards/" in key for key in room.listing()) == 1
    finally:
        room.stop()


def other_address():
    """An address of this machine that is not loopback; None where it has none."""
    found = [a.address for entries in psutil.net_if_addrs().values() for a in entries if a.family == socket.AF_INET]
    return next((address for address in found if not address.startswith("127.")), None)


def test_strangers_read_the_shared_project_and_do_not_write_it(seaweed_settings, s3_store, tmp_path):
    address = other_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    room = Room(seaweed_settings, s3_store, tmp_path)
    room._environment["VISIONYARD_LISTEN"] = "0.0.0.0:0"
    room.start()
    try:
        with grpc.insecure_channel(f"{address}:{room.port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            datasets = dataset_service_pb2_grpc.DatasetServiceStub(channel)
            transfer = transfer_service_pb2_grpc.TransferServiceStub(channel)
            storage = storage_service_pb2_grpc.StorageServiceStub(channel)
            assert not datasets.ListDatasets(dataset_service_pb2.ListDatasetsRequest(parent="projects/shared")).datasets
            writes = [
                lambda: datasets.DeleteDataset(dataset_service_pb2.DeleteDatasetRequest(name="projects/shared/datasets/d")),
                lambda: transfer.StartUpload(transfer_service_pb2.StartUploadRequest(parent="projects/shared", size_bytes=1)),
                lambda: transfer.WriteUpload(iter([transfer_service_pb2.WriteUploadRequest(name="projects/shared/uploads/u")])),
                lambda: list(storage.CollectStorage(storage_service_pb2.CollectStorageRequest(parent="projects/shared"))),
            ]
            for write in writes:
                with pytest.raises(grpc.RpcError) as caught:
                    write()
                assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
                assert reason(rpc_status.from_call(caught.value)) == "SHARED_READ_ONLY"
        with pytest.raises(grpc.RpcError) as caught:
            room.datasets.DeleteDataset(dataset_service_pb2.DeleteDatasetRequest(name="projects/shared/datasets/d"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    finally:
        room.stop()


def test_ending_the_call_ends_the_collection_and_gives_its_lease_back(room):
    for n in range(3):
        room.good(generated(3, seed=200 + n), f"gone-{n}")
        delete(room, f"gone-{n}")
    call = room.storage.CollectStorage(storage_service_pb2.CollectStorageRequest(parent="projects/default", grace=NOW), timeout=60)
    next(call)
    call.cancel()
    end = time.monotonic() + 60
    # A lease that ran out would still bear its holder's name.
    while json.loads(room.store.get("projects/default/collection.json").data)["body"]["holder"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    collect(room)
    assert objects(room) == {}
