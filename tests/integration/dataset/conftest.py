import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import uuid
from pathlib import Path

import google_crc32c
import grpc
import pytest
from fetching import Fetcher
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from web import serving

from visionyard.dataset.v1 import (
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    import_job_pb2,
    import_job_service_pb2,
    import_job_service_pb2_grpc,
    storage_service_pb2_grpc,
)
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.artifacts.dataset import read_dataset_version, read_manifest
from visionyard.kit.names import VersionName
from visionyard.transfer.v1 import transfer_service_pb2, transfer_service_pb2_grpc

CHUNK = 1 << 20
LIMIT = 64 << 20


class Room:
    """The dataset service as a process of its own, spoken to over gRPC."""

    def __init__(self, environment, store, folder: Path):
        self.store = store
        self.log = folder / "service.log"
        self._environment = {
            **os.environ,
            **environment,
            "VISIONYARD_LISTEN": "127.0.0.1:0",
            "VISIONYARD_METRICS_LISTEN": "127.0.0.1:0",
            "VISIONYARD_WORK_DIR": str(folder / "work"),
            "VISIONYARD_HEARTBEAT_S": "0.5",
            "VISIONYARD_LEASE_S": "2",
        }

    def start(self):
        began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "visionyard.dataset"], env=self._environment, stdout=log, stderr=log)
        end = time.monotonic() + 60
        port = None
        while port is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            for line in self.log.read_bytes()[began:].splitlines():
                port = port or json.loads(line).get("port")
            time.sleep(0.05)
        self.port = port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", LIMIT)])
        self.datasets = dataset_service_pb2_grpc.DatasetServiceStub(self.channel)
        self.imports = import_job_service_pb2_grpc.ImportJobServiceStub(self.channel)
        self.storage = storage_service_pb2_grpc.StorageServiceStub(self.channel)
        self.transfer = transfer_service_pb2_grpc.TransferServiceStub(self.channel)
        health = health_pb2_grpc.HealthStub(self.channel)
        while health.Check(health_pb2.HealthCheckRequest()).status != health_pb2.HealthCheckResponse.SERVING:
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def stop(self):
        self.channel.close()
        self.process.terminate()
        assert self.process.wait(30) == 0

    def workers(self):
        """The pids of living import workers of this test's store."""
        mine = f"VISIONYARD_S3_BUCKET={self._environment['VISIONYARD_S3_BUCKET']}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if b"visionyard.dataset.worker" in (folder / "cmdline").read_bytes() and mine in (folder / "environ").read_bytes().split(
                    b"\0"
                ):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def upload(self, data):
        request = transfer_service_pb2.StartUploadRequest(
            parent="projects/default", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), request_id=str(uuid.uuid4())
        )
        upload = self.transfer.StartUpload(request).upload
        if not upload.complete:
            chunks = (
                transfer_service_pb2.WriteUploadRequest(
                    name=upload.name, offset=at, data=data[at : at + CHUNK], crc32c=google_crc32c.value(data[at : at + CHUNK])
                )
                for at in range(0, max(1, len(data)), CHUNK)
            )
            upload = self.transfer.WriteUpload(chunks).upload
        return upload.name

    def create(self, upload, dataset, request_id="", **spec):
        wanted = import_job_pb2.ImportSpec(dataset=f"projects/default/datasets/{dataset}", upload=upload, source_name="set.tar", **spec)
        request = import_job_service_pb2.CreateImportJobRequest(
            parent="projects/default", import_job=import_job_pb2.ImportJob(spec=wanted), request_id=request_id
        )
        return self.imports.CreateImportJob(request).import_job

    def watch(self, name):
        """Every snapshot until the job has ended."""
        request = import_job_service_pb2.WatchImportJobRequest(name=name)
        return [snapshot.import_job for snapshot in self.imports.WatchImportJob(request, timeout=120)]

    def run(self, data, dataset, **spec):
        """Uploads, imports and waits; the job as it ended."""
        return self.watch(self.create(self.upload(data), dataset, **spec).name)[-1]

    def good(self, data, dataset, **spec):
        job = self.run(data, dataset, **spec)
        assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status
        return job

    def version(self, dataset):
        request = dataset_service_pb2.GetDatasetVersionRequest(name=f"projects/default/datasets/{dataset}/versions/-")
        return self.datasets.GetDatasetVersion(request).dataset_version

    def rows(self, dataset):
        name = VersionName.parse(f"projects/default/datasets/{dataset}/versions/-", "datasets")
        return read_manifest(self.store, read_dataset_version(self.store, name))

    def listing(self):
        return {entry.key for entry in self.store.list("projects/")} | {entry.key for entry in self.store.list("queue/")}


def reason(status):
    """The reason in a google.rpc.Status."""
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details), json_format.MessageToJson(status)
    assert info.domain == "visionyard"
    return info.reason


def tar_of(folder: Path) -> bytes:
    """A folder as the client sends it: sorted, zero times."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            info.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(info, file)
    return buffer.getvalue()


@pytest.fixture
def room(seaweed_settings, s3_store, tmp_path):
    running = Room(seaweed_settings, s3_store, tmp_path)
    running.start()
    yield running
    running.stop()
    # A worker outlives its service: one that was begun just before is at its end, or hears soon that nobody wants it.
    deadline = time.monotonic() + 60
    while running.workers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not running.workers()


@pytest.fixture
def web():
    with serving() as running:
        yield running


@pytest.fixture
def fetcher(tmp_path, web):
    (tmp_path / "scratch").mkdir()
    made = Fetcher(tmp_path / "scratch", None)
    made.allow = web.root
    return made
