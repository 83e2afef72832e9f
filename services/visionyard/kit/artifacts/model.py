"""Model versions as every room reads them: what is known of the weights, and the weight file itself, checked.

The training room publishes them (from its jobs, or from pushed weight files); export and training read them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.versions import VersionDocument
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import NotFound, ObjectStore

TASKS = ("detect", "segment", "classify", "pose", "obb")
"""The tasks that a model may have, by Ultralytics' own names."""
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class ModelFile:
    """A file of a model version.

    Attributes:
        key: Where it lies in the bucket; immutable.
        size: Its size in bytes.
        sha256: The sha256 of its bytes, 64 lower-case hexadecimal digits.
    """

    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class ModelVersion:
    """Immutable weights and what is known of them.

    Attributes:
        name: ``projects/{project}/models/{model}/versions/{number}``, with its number.
        digest: ``sha256:`` and the sha256 of the weight file's bytes.
        task: One of :data:`TASKS`.
        class_names: In the order of their ids.
        parameter_count: How many parameters it has.
        image_size_px: The image's side that it was trained at, in pixels.
        stride: Input sizes are multiples of it, in pixels.
        architecture: The name of its architecture's YAML as the weights tell it (``yolov8n.yaml``); empty where they don't.
        weights: Which of ``files`` the weights are.
        files: What the version holds, by path.
        training_job: The job that trained it, ``projects/{project}/trainingJobs/{job}``; empty for a pushed one.
        pushed_file: The name of the file that was pushed; empty for a trained one.
        dataset_version: What it was trained on, ``projects/{project}/datasets/{dataset}/versions/{number}``; empty for a pushed one.
        metrics: Validation metrics of the best epoch under Ultralytics' own keys; empty for a pushed one.
        state_dict_sha256: The sha256 of the pushed file, 64 hexadecimal digits, where that was a torchvision network's state dict: then the weights
            were made of it, their head is untrained, and they are a start for training only. Empty for others.
        best_metric: By which of ``metrics`` its epoch was chosen, where the job said so; empty for Ultralytics' own choice.
        fetched_from: The address that a pushed file was fetched from, without its query, or ``file:`` and the name of the file; empty for others.
        create_time: When it was published, by the store's clock.
    """

    name: VersionName
    digest: str
    task: str
    class_names: tuple[str, ...]
    parameter_count: int
    image_size_px: int
    stride: int
    architecture: str
    weights: str
    files: Mapping[str, ModelFile]
    training_job: str = ""
    pushed_file: str = ""
    dataset_version: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    state_dict_sha256: str = ""
    best_metric: str = ""
    fetched_from: str = ""
    create_time: datetime | None = None

    @classmethod
    def from_document(cls, document: VersionDocument) -> ModelVersion:
        """Reads a published version's document."""
        body = document.body
        return cls(
            name=document.name,
            digest=body["digest"],
            task=body["task"],
            class_names=tuple(body["class_names"]),
            parameter_count=body["parameter_count"],
            image_size_px=body["image_size_px"],
            stride=body["stride"],
            architecture=body["architecture"],
            weights=body["weights"],
            files={path: ModelFile(f["key"], f["size_bytes"], f["sha256"]) for path, f in sorted(body["files"].items())},
            training_job=body["training_job"],
            pushed_file=body["pushed_file"],
            dataset_version=body["dataset_version"],
            metrics=dict(body["metrics"]),
            state_dict_sha256=body.get("state_dict_sha256", ""),  # documents of earlier releases lack it
            best_metric=body.get("best_metric", ""),  # likewise
            fetched_from=body.get("fetched_from", ""),  # likewise
            create_time=document.create_time,
        )

    def body(self) -> dict[str, Any]:
        """The JSON document to publish: everything but ``name`` and ``create_time``, which publishing decides."""
        return {
            "digest": self.digest,
            "task": self.task,
            "class_names": list(self.class_names),
            "parameter_count": self.parameter_count,
            "image_size_px": self.image_size_px,
            "stride": self.stride,
            "architecture": self.architecture,
            "weights": self.weights,
            "files": {path: {"key": f.key, "size_bytes": f.size, "sha256": f.sha256} for path, f in self.files.items()},
            "training_job": self.training_job,
            "pushed_file": self.pushed_file,
            "dataset_version": self.dataset_version,
            "metrics": dict(self.metrics),
            "state_dict_sha256": self.state_dict_sha256,
            "best_metric": self.best_metric,
            "fetched_from": self.fetched_from,
        }

    @property
    def weight_file(self) -> ModelFile:
        """The weights' file."""
        return self.files[self.weights]


def read_model_version(store: ObjectStore, name: VersionName) -> ModelVersion:
    """Reads a version; without a number the newest.

    Raises:
        YardError: MODEL_NOT_FOUND or MODEL_VERSION_NOT_FOUND.
    """
    return ModelVersion.from_document(versions.resolve(store, name))


def newest_model_version(store: ObjectStore, model: ResourceName) -> ModelVersion | None:
    """The newest version of a model, or None where there is no such model."""
    document = versions.newest(store, model)
    return ModelVersion.from_document(document) if document else None


def list_model_versions(
    store: ObjectStore, model: ResourceName, before: int | None = None, at_most: int | None = None
) -> Iterator[ModelVersion]:
    """A model's versions, newest first, with numbers below ``before``, at most so many; none where there is no such model."""
    return (ModelVersion.from_document(document) for document in versions.list_versions(store, model, before, at_most))


def blob_key(project: str, sha256: str) -> str:
    """Where a content-addressed file of a project lies."""
    return f"projects/{project}/blobs/{sha256}"


def fetch_weights(store: ObjectStore, version: ModelVersion, path: Path) -> Path:
    """Writes a version's weight file to ``path``, whole and checked, or not at all. Blocks.

    The file is a pickle from a stranger, even though the training room looked at it when it was pushed: load it in a worker process
    with ``ULTRALYTICS_SAFE_LOAD=1`` only.

    Args:
        store: The bucket.
        version: The version.
        path: The file to write; its folder exists. Replaced where it is there.

    Returns:
        ``path``.

    Raises:
        YardError: ARTIFACT_CORRUPT, the bytes are gone or do not fit their recorded sha256.
        StoreUnavailable: the store does not answer.
        OSError: the disk refused it.
    """
    file = version.weight_file
    try:
        store.get_file(file.key, path)
    except NotFound:
        raise _corrupt(version, "is missing in the bucket") from None
    if sha256_of(path) != file.sha256:
        path.unlink()
        raise _corrupt(version, "does not fit its recorded sha256")
    return path


def _corrupt(version: ModelVersion, what: str) -> YardError:
    return YardError(
        Reason.ARTIFACT_CORRUPT,
        f"the weight file of {version.name} {what}: push or train the model again",
        {"name": str(version.name)},
    )


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, 64 lower-case hexadecimal digits, with flat memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
    return digest.hexdigest()
