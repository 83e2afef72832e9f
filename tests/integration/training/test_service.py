"""The training service as a process of its own, over live gRPC: push, train, watch, read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import pytest
from serving import serving
from shapes import RECIPE, publish_shapes

from visionyard.jobs.v1 import job_pb2
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.status import from_rpc_error
from visionyard.training.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc, training_job_pb2, training_job_service_pb2_grpc
from visionyard.training.v1 import training_job_service_pb2 as messages
from visionyard.transfer.v1 import transfer_service_pb2, transfer_service_pb2_grpc

CHUNK = 1 << 20
MODEL = "projects/default/models/m"


class Client:
    """The three stubs."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.jobs = training_job_service_pb2_grpc.TrainingJobServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)
        self.transfer = transfer_service_pb2_grpc.TransferServiceStub(channel)

    def push(self, path: Path, model: str = MODEL) -> model_pb2.ModelVersion:
        data = path.read_bytes()
        start = transfer_service_pb2.StartUploadRequest(
            parent="projects/default", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), request_id=str(time.time_ns())
        )
        upload = self.transfer.StartUpload(start).upload.name
        chunks = [(at, data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]
        written = self.transfer.WriteUpload(
            transfer_service_pb2.WriteUploadRequest(name=upload, offset=at, data=chunk, crc32c=google_crc32c.value(chunk))
            for at, chunk in chunks
        )
        assert written.upload.complete
        request = model_service_pb2.CreateModelVersionRequest(parent=model, upload=upload, source_name=path.name)
        return self.models.CreateModelVersion(request).model_version

    def train(self, **spec: Any) -> training_job_pb2.TrainingJob:
        overrides = {**RECIPE, **spec.pop("overrides", {})}
        job = training_job_pb2.TrainingJob(
            spec=training_job_pb2.TrainingSpec(model=MODEL, epochs=2, batch_size=8, image_size_px=64, **spec)
        )
        job.spec.overrides.update(overrides)
        return self.jobs.CreateTrainingJob(messages.CreateTrainingJobRequest(parent="projects/default", training_job=job)).training_job

    def read(self, name: str, path: str) -> bytes:
        return b"".join(answer.data for answer in self.transfer.ReadFile(transfer_service_pb2.ReadFileRequest(name=name, path=path)))


@pytest.fixture
def client(seaweed_settings: dict[str, str], tmp_path: Path) -> Iterator[Client]:
    with serving(seaweed_settings, tmp_path) as channel:
        yield Client(channel)


def _refused(call: Any, *arguments: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as refused:
        call(*arguments, **options)
    error = from_rpc_error(refused.value)
    return refused.value.code().name, error.reason


def test_the_line_from_pushed_weights_to_a_trained_version(client: Client, s3_store: ObjectStore, test_data: Path) -> None:
    dataset = publish_shapes(s3_store, train=32, val=8)
    pushed = client.push(test_data / "weights" / "yolov8n.pt")
    assert (pushed.name, pushed.task, pushed.pushed_file) == (f"{MODEL}/versions/1", model_pb2.MODEL_TASK_DETECT, "yolov8n.pt")
    job = client.train(dataset_version=dataset, model_version=f"{MODEL}/versions/-")
    assert job.spec.model_version == pushed.name
    snapshots = list(client.jobs.WatchTrainingJob(messages.WatchTrainingJobRequest(name=job.name)))
    sequences = [snapshot.sequence for snapshot in snapshots]
    assert sequences == sorted(set(sequences))
    last = snapshots[-1].training_job
    assert last.status.state == job_pb2.JOB_STATE_SUCCEEDED, last.status.error
    assert (last.training_progress.epoch, last.training_progress.epochs, last.status.attempt) == (2, 2, 1)
    assert "train/box_loss" in last.training_progress.metrics
    assert last.model_version == f"{MODEL}/versions/2"

    version = client.models.GetModelVersion(model_service_pb2.GetModelVersionRequest(name=f"{MODEL}/versions/-")).model_version
    assert (version.name, version.training_job, version.dataset_version) == (last.model_version, job.name, dataset)
    assert "metrics/mAP50-95(B)" in version.metrics
    best = client.read(version.name, "best.pt")
    assert version.digest == f"sha256:{hashlib.sha256(best).hexdigest()}"
    files = {file.path: file for file in client.jobs.ListJobFiles(messages.ListJobFilesRequest(name=job.name)).files}
    assert {"weights/best.pt", "weights/last.pt", "results.csv", "args.yaml", "results.png"} <= set(files)
    assert len(client.read(job.name, "results.csv").splitlines()) == 3
    log = b"".join(part.data for part in client.jobs.ReadLogs(messages.ReadLogsRequest(name=job.name, follow=True)))
    assert b"2 epochs completed" in log
    assert client.models.GetModel(model_service_pb2.GetModelRequest(name=MODEL)).model.latest_version == version
    listed = client.jobs.ListTrainingJobs(messages.ListTrainingJobsRequest(parent="projects/default")).training_jobs
    assert [entry.name for entry in listed] == [job.name]


def test_refusals_have_a_code_and_a_reason_and_leave_nothing(client: Client, s3_store: ObjectStore, test_data: Path) -> None:
    dataset = publish_shapes(s3_store, train=4, val=2)
    classifier = client.push(test_data / "weights" / "yolo11n-cls.pt", "projects/default/models/classifier").name
    before = sorted(entry.key for entry in s3_store.list("projects/"))
    for path in sorted((test_data / "nasty").glob("*.pt")):
        assert _refused(client.push, path) == ("INVALID_ARGUMENT", "WEIGHTS_UNREADABLE")
    yaml = (
        "nc: 2\nactivation: __import__('os').system('true')\nbackbone:\n  - [-1, 1, Conv, [64, 3, 2]]\nhead:\n  - [[0], 1, Detect, [nc]]\n"
    )
    assert _refused(client.train, dataset_version=dataset, model_yaml=yaml) == ("INVALID_ARGUMENT", "MODEL_YAML_INVALID")
    assert _refused(client.train, dataset_version=dataset, model_version=classifier) == ("INVALID_ARGUMENT", "UNSUPPORTED_TASK")
    started = {"dataset_version": dataset, "architecture": "yolov8n.yaml"}
    assert _refused(client.train, **started, overrides={"epoch": 3}) == ("INVALID_ARGUMENT", "UNKNOWN_ARGUMENT")
    for value in ("fast", float("nan"), float("inf")):
        assert _refused(client.train, **started, overrides={"lr0": value}) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT_VALUE")
    assert _refused(client.train, **started, overrides={"save_dir": "/tmp/x"}) == ("INVALID_ARGUMENT", "RESERVED_ARGUMENT")
    nowhere = "projects/default/trainingJobs/nowhere"
    assert _refused(client.jobs.GetTrainingJob, messages.GetTrainingJobRequest(name=nowhere)) == ("NOT_FOUND", "JOB_NOT_FOUND")
    assert _refused(lambda: list(client.jobs.ReadLogs(messages.ReadLogsRequest(name=nowhere)))) == ("NOT_FOUND", "JOB_NOT_FOUND")
    assert _refused(client.models.GetModel, model_service_pb2.GetModelRequest(name=MODEL)) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    assert _refused(client.read, classifier, "../../etc/passwd") == ("NOT_FOUND", "FILE_NOT_FOUND")
    assert _refused(client.read, "projects/default/datasets/d/versions/1", "x") == ("INVALID_ARGUMENT", "INVALID_NAME")
    assert sorted(entry.key for entry in s3_store.list("projects/")) == before
