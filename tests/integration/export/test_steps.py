"""Exports from a published model version to a published artifact, over the in-memory store, with the real exporter."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from visionyard.export.key import artifact_key, artifact_name, exporter_versions
from visionyard.export.worker import __main__ as worker
from visionyard.export.worker import comparison, steps
from visionyard.kit.artifacts import exported as artifacts
from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import DatasetClass, DatasetSplit, DatasetVersion
from visionyard.kit.artifacts.exported import Artifact, ArtifactFormat
from visionyard.kit.artifacts.manifest import ManifestRow, encode_manifest
from visionyard.kit.artifacts.model import ModelFile, ModelVersion, blob_key
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.lease import JobCancelled
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore

MODEL = ResourceName("default", "models", "v8n")
DATASET = ResourceName("default", "datasets", "street")


class Context(SimpleNamespace):
    """A handler's context without a lease: notes what was reported, and can be told to stop at a phase."""

    def __init__(self, store: MemoryObjectStore, scratch: Path, spec: dict[str, Any] | None = None, stop_at: str = "") -> None:
        name = ResourceName("default", JobKind.EXPORT.collection, "0job")
        job = Job(name, JobKind.EXPORT, spec or {}, JobState.RUNNING, 1, datetime.now(UTC), "call")
        super().__init__(store=store, scratch=scratch, job=job, reports=[], stop_at=stop_at)
        scratch.mkdir(parents=True, exist_ok=True)

    def check(self) -> None:
        if self.stop_at and any(report[0] == self.stop_at for report in self.reports):
            raise JobCancelled

    def report(self, phase: str, done: int = 0, total: int = 0, unit: str = "", detail: dict[str, Any] | None = None) -> None:
        self.reports.append((phase, done, total, unit))


def publish_model(store: MemoryObjectStore, weights: bytes, *, dataset_version: str = "", task: str = "detect") -> ModelVersion:
    sha256 = hashlib.sha256(weights).hexdigest()
    store.put(blob_key("default", sha256), weights)
    version = ModelVersion(
        name=VersionName(MODEL, 1),
        digest=f"sha256:{sha256}",
        task=task,
        class_names=tuple(f"class {n}" for n in range(80)),
        parameter_count=1,
        image_size_px=640,
        stride=32,
        architecture="yolov8n.yaml",
        weights="weights.pt",
        files={"weights.pt": ModelFile(blob_key("default", sha256), len(weights), sha256)},
        dataset_version=dataset_version,
    )
    return ModelVersion.from_document(versions.publish(store, MODEL, version.body(), made_by=sha256))


def publish_dataset(store: MemoryObjectStore, files: dict[str, list[bytes]]) -> str:
    shard, rows = bytearray(), []
    for split, images in files.items():
        for number, data in enumerate(images):
            offset = len(shard)
            shard += data
            rows.append(ManifestRow(hashlib.sha256(data).hexdigest(), f"{split}{number}.jpg", split, 1, 1, "shard", offset, len(data), ()))
    store.put("shard", bytes(shard))
    store.put("manifest", encode_manifest(rows, {"job": "test"}))
    version = DatasetVersion(
        name=VersionName(DATASET, 1),
        digest="sha256:0",
        task="detect",
        image_count=len(rows),
        label_count=0,
        classes=(DatasetClass(0, "thing", 0),),
        splits=tuple(DatasetSplit(split, len(images), 0) for split, images in files.items()),
        total_bytes=len(shard),
        stored_bytes=len(shard),
        source_format="yolo",
        import_job="projects/default/importJobs/0",
        manifest_key="manifest",
        report_key="report",
    )
    return str(versions.publish(store, DATASET, version.body(), made_by="test").name)


@pytest.fixture
def weights(test_data: Path) -> bytes:
    return (test_data / "weights" / "yolov8n.pt").read_bytes()


@pytest.fixture
def build(safe_load: None, tmp_path: Path) -> Callable[..., Artifact]:
    def run(store: MemoryObjectStore, model: ModelVersion, dataset_version: str = "", name: str = "job", stop_at: str = "") -> Artifact:
        key = artifact_key(model, ArtifactFormat.ONNX, exporter_versions())
        return steps.build(Context(store, tmp_path / name, stop_at=stop_at), model, artifact_name(model, key), key, dataset_version)

    return run


def test_builds_an_artifact_that_loads(build: Callable[..., Artifact], weights: bytes, tmp_path: Path) -> None:
    store = MemoryObjectStore()
    model = publish_model(store, weights)
    artifact = build(store, model)
    assert artifact == artifacts.read_artifact(store, artifact.name)
    assert artifact == artifacts.newest_artifact(store, model.name, {ArtifactFormat.ONNX})
    assert (artifact.stride_px, artifact.image_size_px, artifact.max_candidates, artifact.nms_applied) == (32, 640, 1000, False)
    assert artifact.class_names == model.class_names
    assert artifact.comparison.images_from == "ultralytics assets"
    assert artifact.comparison.image_count == 2
    assert artifact.comparison.detection_count >= 6
    assert artifact.comparison.max_box_difference_px < artifact.comparison.box_limit_px / 5
    assert artifact.comparison.max_confidence_difference < artifact.comparison.confidence_limit / 5
    for file in artifact.files:
        artifacts.download_file(store, artifact, file.path, tmp_path / file.path)
    onnx.checker.check_model(str(tmp_path / "model.onnx"))
    onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert artifact.digest == "sha256:" + hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    report = json.loads((tmp_path / "comparison.json").read_text())
    assert [image["name"] for image in report["images"]] == ["bus.jpg", "zidane.jpg"]
    assert all(image["unmatched_detections"] == 0 for image in report["images"])
    assert json.loads((tmp_path / "metadata.json").read_text())["key"] == dict(artifact.key)


def test_asking_twice_builds_once(build: Callable[..., Artifact], weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryObjectStore()
    model = publish_model(store, weights)
    artifact = build(store, model)
    monkeypatch.setattr(steps, "build", lambda *_: pytest.fail("it was built again"))
    spec = {"model_version": str(model.name), "format": "onnx", "dataset_version": ""}
    assert worker.export(Context(store, tmp_path / "again", spec)) == {"artifact": str(artifact.name)}


def test_the_worker_finds_an_artifact_without_torch() -> None:
    code = "import sys, visionyard.export.worker.__main__; sys.exit(bool({'torch', 'ultralytics', 'onnx', 'cv2'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_of_two_at_once_both_get_the_first(build: Callable[..., Artifact], weights: bytes) -> None:
    store = MemoryObjectStore()
    artifact = build(store, publish_model(store, weights))
    store.delete(artifacts.document_key(artifact.name))
    others = [dataclasses.replace(artifact, comparison=dataclasses.replace(artifact.comparison, image_count=n)) for n in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        published = list(pool.map(lambda other: artifacts.publish_artifact(store, other), others))
    assert len({entry.comparison.image_count for entry in published}) == 1


@pytest.mark.parametrize("how", ["asked", "trained on"])
def test_compares_on_the_validation_images(build: Callable[..., Artifact], weights: bytes, test_data: Path, how: str) -> None:
    store = MemoryObjectStore()
    photo, other = ((test_data / "photos" / name).read_bytes() for name in ("rf_dogs.jpg", "ul_zidane.jpg"))
    dataset_version = publish_dataset(store, {"train": [other], "val": [photo, b"GIF89a no JPEG"]})
    model = publish_model(store, weights, dataset_version=dataset_version if how == "trained on" else "")
    comparison = build(store, model, dataset_version if how == "asked" else "").comparison
    assert comparison.images_from == f"validation split of {dataset_version}"
    assert comparison.image_count == 1


def test_a_dataset_that_is_gone_is_no_obstacle_unless_asked_for(build: Callable[..., Artifact], weights: bytes) -> None:
    store = MemoryObjectStore()
    gone = f"{DATASET}/versions/1"
    model = publish_model(store, weights, dataset_version=gone)
    with pytest.raises(YardError) as caught:
        build(store, model, gone, "first")
    assert caught.value.reason is Reason.DATASET_NOT_FOUND
    assert build(store, model, name="second").comparison.images_from == "ultralytics assets"


def test_a_graph_that_differs_is_not_published(build: Callable[..., Artifact], weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryObjectStore()
    model = publish_model(store, weights)
    write = steps.write_onnx

    def write_spoilt(graph: Any, path: Path, opset: int) -> None:
        next(graph.model.model[-1].cv3[0][-1].parameters()).data.mul_(1.01)
        write(graph, path, opset)

    monkeypatch.setattr(steps, "write_onnx", write_spoilt)
    with pytest.raises(YardError) as caught:
        build(store, model)
    assert caught.value.reason is Reason.EXPORT_MISMATCH
    assert float(caught.value.metadata["difference"]) > comparison.CONFIDENCE_LIMIT
    assert list(artifacts.list_artifacts(store, model.name)) == []
    assert {entry.key for entry in store.list("projects/default/blobs/")} == {model.weight_file.key}


def test_a_diverged_model_is_a_mismatch(build: Callable[..., Artifact], weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryObjectStore()
    load = steps.load_detector

    def load_diverged(path: Path) -> Any:
        model = load(path)
        next(model.model[-1].cv2[0][-1].parameters()).data.fill_(float("nan"))
        return model

    monkeypatch.setattr(steps, "load_detector", load_diverged)
    with pytest.raises(YardError) as caught:
        build(store, publish_model(store, weights))
    assert caught.value.reason is Reason.EXPORT_MISMATCH


@pytest.mark.parametrize("phase", ["opening weights", "exporting", "checking", "comparing"])
def test_a_cancelled_export_leaves_no_artifact(build: Callable[..., Artifact], weights: bytes, phase: str) -> None:
    store = MemoryObjectStore()
    model = publish_model(store, weights)
    with pytest.raises(JobCancelled):
        build(store, model, stop_at=phase)
    assert list(artifacts.list_artifacts(store, model.name)) == []
    assert [entry.key for entry in store.list("projects/default/blobs/")] == [model.weight_file.key]


def test_unexpected_failures_name_the_step(build: Callable[..., Artifact], weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise onnx.checker.ValidationError

    monkeypatch.setattr(steps, "check_onnx", fail)
    store = MemoryObjectStore()
    with pytest.raises(YardError) as caught:
        build(store, publish_model(store, weights))
    assert (caught.value.reason, caught.value.metadata) == (Reason.EXPORT_FAILED, {"step": "checking"})


def test_stored_bytes_that_rot_are_noticed(build: Callable[..., Artifact], weights: bytes, tmp_path: Path) -> None:
    store = MemoryObjectStore()
    artifact = build(store, publish_model(store, weights))
    store.put(artifact.file("model.onnx").key, b"rot")
    with pytest.raises(YardError) as caught:
        artifacts.download_file(store, artifact, "model.onnx", tmp_path / "model.onnx")
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT
    assert list(tmp_path.glob("*model.onnx*")) == []


def test_more_pairs_than_the_graph_gives_out_are_compared_among_the_surest() -> None:
    """A model that has hardly learned finds thousands of pairs in a crowd: the graph cuts them by design, which is no mismatch."""
    boxes = np.array([[10.0 * i, 0, 10.0 * i + 8, 8] for i in range(6)], np.float32)
    scores = np.array([[0.9], [0.8], [0.7], [0.6], [0.5], [0.4]], np.float32)
    source = comparison._Prediction(boxes, scores, np.column_stack([boxes, scores, np.zeros(6, np.float32)]))
    comparer = SimpleNamespace(_end2end=False)
    expected = comparison.Comparer._expected
    assert len(expected(comparer, source, 6)) == 6
    assert np.allclose(expected(comparer, source, 4)[:, 4], [0.9, 0.8, 0.7, 0.6])
