"""The export service's use cases and its RPCs, over the in-memory store; no worker runs here."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from visionyard.export import mapping
from visionyard.export.exports import Exports
from visionyard.export.metrics import Metrics
from visionyard.export.servicer import ArtifactServicer, ExportJobServicer
from visionyard.export.specification import ExportSpecification
from visionyard.export.v1 import artifact_pb2, export_job_pb2
from visionyard.export.v1 import artifact_service_pb2 as artifact_rpc
from visionyard.export.v1 import export_job_service_pb2 as job_rpc
from visionyard.export.v1.artifact_service_pb2_grpc import ArtifactServiceStub, add_ArtifactServiceServicer_to_server
from visionyard.export.v1.export_job_service_pb2_grpc import ExportJobServiceStub, add_ExportJobServiceServicer_to_server
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.artifacts import exported, versions
from visionyard.kit.artifacts.exported import Artifact, ArtifactFile, ArtifactFormat, Comparison
from visionyard.kit.artifacts.model import ModelVersion
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ArtifactName, ProjectName, ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import OutcomeUnknown, StoreUnavailable

PROJECT = ProjectName("default")
MODEL = ResourceName("default", "models", "m")


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


@pytest.fixture
def exports(store: MemoryObjectStore) -> Exports:
    return Exports(store, JobService(store, JobKind.EXPORT))


def _publish(store: MemoryObjectStore, task: str = "detect", made_by: str = "1") -> VersionName:
    model = ModelVersion(VersionName(MODEL, 1), "sha256:abc", task, ("a", "b"), 1, 640, 32, "", "w.pt", {})
    return versions.publish(store, MODEL, model.body(), made_by).name


def _artifact(version: VersionName, digest: str = "abc") -> Artifact:
    return Artifact(
        name=ArtifactName(version, digest),
        format=ArtifactFormat.ONNX,
        key={"opset": "18"},
        digest="sha256:1",
        size_bytes=12,
        class_names=("a", "b"),
        stride_px=32,
        image_size_px=640,
        max_candidates=1000,
        nms_applied=False,
        comparison=Comparison("ultralytics assets", 2, 0.01, 0.001, 0.1, 0.002, 7),
        files=(ArtifactFile("model.onnx", "projects/default/blobs/1", 12, "1"),),
    )


def _asked(version: str = f"{MODEL}/versions/-", dataset: str = "") -> ExportSpecification:
    return ExportSpecification(VersionName.parse(version, "models"), ArtifactFormat.ONNX, dataset)


def _succeed(exports: Exports, name: ResourceName, artifact: Artifact) -> None:
    exports.jobs.records.update(
        name, lambda job, now: job.changed(state=JobState.SUCCEEDED, pointers={"artifact": str(artifact.name)}, end_time=now)
    )


def test_the_newest_version_is_settled_when_the_job_is_made(store: MemoryObjectStore, exports: Exports) -> None:
    _publish(store)
    _publish(store, made_by="2")
    view = exports.create(PROJECT, _asked(), "")
    assert view.job.spec == {"model_version": f"{MODEL}/versions/2", "format": "onnx", "dataset_version": ""}
    assert (view.job.state, view.queue_position, view.artifact) == (JobState.QUEUED, 1, None)


@pytest.mark.parametrize(
    ("task", "asked", "reason"),
    [
        ("classify", _asked(), Reason.UNSUPPORTED_TASK),
        ("detect", _asked("projects/default/models/other/versions/-"), Reason.MODEL_NOT_FOUND),
        ("detect", _asked(f"{MODEL}/versions/9"), Reason.MODEL_VERSION_NOT_FOUND),
        ("detect", _asked("projects/elsewhere/models/m/versions/1"), Reason.INVALID_FIELD),
        ("detect", _asked(dataset="projects/default/datasets/d/versions/-"), Reason.DATASET_NOT_FOUND),
        ("detect", _asked(dataset="projects/elsewhere/datasets/d/versions/1"), Reason.INVALID_FIELD),
    ],
)
def test_what_cannot_be_exported_is_refused_at_once(
    store: MemoryObjectStore, exports: Exports, task: str, asked: ExportSpecification, reason: Reason
) -> None:
    _publish(store, task)
    with pytest.raises(YardError) as caught:
        exports.create(PROJECT, asked, "")
    assert caught.value.reason is reason
    assert exports.list_jobs(PROJECT, 0, "") == ([], "")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (export_job_pb2.ExportSpec(model_version=f"{MODEL}/versions/1"), Reason.INVALID_FIELD),
        (export_job_pb2.ExportSpec(model_version=f"{MODEL}/versions/1", format=99), Reason.INVALID_FIELD),
        (export_job_pb2.ExportSpec(model_version="m", format=1), Reason.INVALID_NAME),
        (export_job_pb2.ExportSpec(model_version=f"{MODEL}/versions/1", format=1, dataset_version="d"), Reason.INVALID_NAME),
    ],
)
def test_requests_that_mean_nothing_are_refused(spec: export_job_pb2.ExportSpec, reason: Reason) -> None:
    with pytest.raises(YardError) as caught:
        mapping.specification_from_proto(spec)
    assert caught.value.reason is reason


def test_the_newest_fitting_artifact_is_found(store: MemoryObjectStore) -> None:
    version = _publish(store)
    with pytest.raises(YardError) as caught:
        exported.newest_artifact(store, version, {ArtifactFormat.ONNX})
    assert caught.value.reason is Reason.ARTIFACT_NOT_FOUND
    for digest in ("b", "a", "c"):
        exported.publish_artifact(store, _artifact(version, digest))
    assert [artifact.name.id for artifact in exported.list_artifacts(store, version)] == ["a", "b", "c"]
    assert exported.newest_artifact(store, version, {ArtifactFormat.ONNX}).format is ArtifactFormat.ONNX
    with pytest.raises(YardError):
        exported.newest_artifact(store, version, set())


def test_artifacts_come_in_pages(store: MemoryObjectStore, exports: Exports) -> None:
    version = _publish(store)
    for digest in ("c", "a", "b"):
        exported.publish_artifact(store, _artifact(version, digest))
    first, token = exports.list_artifacts(VersionName(MODEL, None), 2, "")
    second, end = exports.list_artifacts(version, 2, token)
    assert [artifact.name.id for artifact in first + second] == ["a", "b", "c"]
    assert end == ""


@pytest.fixture
async def service(exports: Exports) -> AsyncIterator[SimpleNamespace]:
    registry = CollectorRegistry()
    server = grpc.aio.server()
    add_ExportJobServiceServicer_to_server(ExportJobServicer(exports, Metrics(registry)), server)
    add_ArtifactServiceServicer_to_server(ArtifactServicer(exports), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(jobs=ExportJobServiceStub(channel), artifacts=ArtifactServiceStub(channel), registry=registry)
    await server.stop(0)


async def test_a_job_from_request_to_artifact(store: MemoryObjectStore, exports: Exports, service: SimpleNamespace) -> None:
    version = _publish(store)
    spec = export_job_pb2.ExportSpec(model_version=str(version), format=artifact_pb2.ARTIFACT_FORMAT_ONNX)
    request = job_rpc.CreateExportJobRequest(parent=str(PROJECT), export_job=export_job_pb2.ExportJob(spec=spec), request_id="r")
    created = (await service.jobs.CreateExportJob(request)).export_job
    assert (await service.jobs.CreateExportJob(request)).export_job.name == created.name
    assert created.spec == spec
    assert created.status.state == job_pb2.JOB_STATE_QUEUED
    assert created.status.queue_position == 1
    assert created.etag
    assert service.registry.get_sample_value("visionyard_export_jobs_created_total") == 2

    watch = service.jobs.WatchExportJob(job_rpc.WatchExportJobRequest(name=created.name))
    first = await anext(aiter(watch))
    artifact = exported.publish_artifact(store, _artifact(version))
    await asyncio.to_thread(_succeed, exports, ResourceName.parse(created.name, "exportJobs"), artifact)
    snapshots = [first, *[snapshot async for snapshot in watch]]
    assert [snapshot.sequence for snapshot in snapshots] == sorted({snapshot.sequence for snapshot in snapshots})
    assert snapshots[-1].export_job.status.state == job_pb2.JOB_STATE_SUCCEEDED

    done = (await service.jobs.GetExportJob(job_rpc.GetExportJobRequest(name=created.name))).export_job
    assert done.artifact == snapshots[-1].export_job.artifact
    assert (await service.jobs.ListExportJobs(job_rpc.ListExportJobsRequest(parent=str(PROJECT)))).export_jobs[0] == done
    fetched = (await service.artifacts.GetArtifact(artifact_rpc.GetArtifactRequest(name=done.artifact.name))).artifact
    assert fetched == done.artifact
    listed = await service.artifacts.ListArtifacts(artifact_rpc.ListArtifactsRequest(parent=f"{MODEL}/versions/-"))
    assert list(listed.artifacts) == [fetched]
    assert fetched.comparison == artifact_pb2.Comparison(**dataclasses.asdict(artifact.comparison))
    assert (fetched.files[0].path, fetched.files[0].size_bytes, fetched.files[0].sha256) == ("model.onnx", 12, "1")
    assert dict(fetched.key) == {"opset": "18"}
    assert fetched.class_names == ["a", "b"]
    assert fetched.create_time.seconds > 0


async def test_a_queued_job_is_cancelled_at_once(store: MemoryObjectStore, exports: Exports, service: SimpleNamespace) -> None:
    _publish(store)
    job = exports.create(PROJECT, _asked(), "").job
    cancelled = await service.jobs.CancelExportJob(job_rpc.CancelExportJobRequest(name=str(job.name)))
    assert cancelled.export_job.status.state == job_pb2.JOB_STATE_CANCELLED
    with pytest.raises(YardError) as caught:
        exports.get(ResourceName("default", "exportJobs", "missing"))
    assert caught.value.reason is Reason.JOB_NOT_FOUND


def test_publishing_ends_where_the_store_reads_but_does_not_write(store: MemoryObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def lost(key: str, _: bytes) -> str:
        asked.append(key)
        raise OutcomeUnknown(key)

    version = _publish(store)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(store, "create", lost)
    with pytest.raises(StoreUnavailable):
        exported.publish_artifact(store, _artifact(version))
    assert 2 <= len(asked) <= 10
