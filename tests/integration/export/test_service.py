"""The export service and its workers as they run: real processes over a real store."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from visionyard.export.v1 import artifact_pb2, export_job_pb2
from visionyard.export.v1 import export_job_service_pb2 as rpc
from visionyard.export.v1.export_job_service_pb2_grpc import ExportJobServiceStub
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.artifacts import exported, versions
from visionyard.kit.artifacts.model import ModelFile, ModelVersion, blob_key
from visionyard.kit.names import ArtifactName, ResourceName, VersionName
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.status import from_rpc_error

MODEL = ResourceName("default", "models", "v8n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def stub(seaweed_settings: dict[str, str], tmp_path: Path) -> Iterator[ExportJobServiceStub]:
    """A client of a service process with its own work folder; it and its workers are ended afterwards."""
    address = f"127.0.0.1:{_free_port()}"
    environment = {
        **os.environ,
        **seaweed_settings,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "VISIONYARD_LISTEN": address,
        "VISIONYARD_METRICS_LISTEN": "127.0.0.1:0",
        "VISIONYARD_WORK_DIR": str(tmp_path / "work"),
        "VISIONYARD_STOP_WORKERS": "true",
    }
    with (tmp_path / "service.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "visionyard.export"], env=environment, stdout=log, stderr=log)
    try:
        with grpc.insecure_channel(address) as channel:
            yield ExportJobServiceStub(channel)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, (tmp_path / "service.log").read_text()[-3000:]


def _publish(store: ObjectStore, weights: bytes, task: str = "detect") -> VersionName:
    sha256 = hashlib.sha256(weights).hexdigest()
    store.put(blob_key("default", sha256), weights)
    files = {"weights.pt": ModelFile(blob_key("default", sha256), len(weights), sha256)}
    names = tuple(f"class {n}" for n in range(80))
    model = ModelVersion(VersionName(MODEL, 1), f"sha256:{sha256}", task, names, 1, 640, 32, "", "weights.pt", files)
    return versions.publish(store, MODEL, model.body(), made_by=sha256 + task).name


def _export(stub: ExportJobServiceStub, version: VersionName) -> tuple[export_job_pb2.ExportJob, list[str], float]:
    """Creates a job and follows it to its end: the job, the phases seen, and the seconds it took."""
    spec = export_job_pb2.ExportSpec(model_version=str(version), format=artifact_pb2.ARTIFACT_FORMAT_ONNX)
    request = rpc.CreateExportJobRequest(parent="projects/default", export_job=export_job_pb2.ExportJob(spec=spec))
    started = time.monotonic()
    name = stub.CreateExportJob(request, wait_for_ready=True, timeout=60).export_job.name
    jobs = [answer.export_job for answer in stub.WatchExportJob(rpc.WatchExportJobRequest(name=name), timeout=240)]
    return jobs[-1], list(dict.fromkeys(job.status.progress.phase for job in jobs)), time.monotonic() - started


def test_builds_once_and_then_finds_it(stub: ExportJobServiceStub, s3_store: ObjectStore, test_data: Path, tmp_path: Path) -> None:
    version = _publish(s3_store, (test_data / "weights" / "yolov8n.pt").read_bytes())
    job, phases, _ = _export(stub, version)
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job
    # A watch shows the newest state: a short phase may be skipped, none comes out of order.
    order = ["", "looking for the artifact", "opening weights", "exporting", "checking", "comparing", "storing"]
    assert len(phases) >= 3
    assert phases == [phase for phase in order if phase in phases]
    assert job.artifact.comparison.image_count == 2
    artifact = exported.read_artifact(s3_store, ArtifactName.parse(job.artifact.name))
    exported.download_file(s3_store, artifact, exported.MODEL_FILE, tmp_path / "model.onnx")

    before = {entry.key: entry.etag for entry in s3_store.list("projects/default/") if "exportJobs" not in entry.key}
    again, phases, _ = _export(stub, version)
    assert again.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert again.artifact == job.artifact
    assert set(phases) <= {"", "looking for the artifact"}
    assert {entry.key: entry.etag for entry in s3_store.list("projects/default/") if "exportJobs" not in entry.key} == before
    assert list(s3_store.list("queue/")) == []


def test_failures_name_their_reason_and_leave_nothing(stub: ExportJobServiceStub, s3_store: ObjectStore, test_data: Path) -> None:
    version = _publish(s3_store, (test_data / "weights" / "yolo11n-cls.pt").read_bytes(), task="classify")
    with pytest.raises(grpc.RpcError) as refused:
        _export(stub, version)
    assert from_rpc_error(refused.value).reason == "UNSUPPORTED_TASK"

    version = _publish(s3_store, (test_data / "nasty" / "yolo26n_truncated.pt").read_bytes())
    before = {entry.key for entry in s3_store.list("projects/")}
    job, _, _ = _export(stub, version)
    assert job.status.state == job_pb2.JOB_STATE_FAILED
    assert job.status.error.message
    assert b"WEIGHTS_UNREADABLE" in job.status.error.SerializeToString()
    after = {entry.key for entry in s3_store.list("projects/")}
    assert all(key.startswith("projects/default/exportJobs/") for key in after - before)
