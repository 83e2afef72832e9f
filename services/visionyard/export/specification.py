"""What an export job is asked to do, as its document keeps it, checked against what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.exported import ArtifactFormat
from visionyard.kit.artifacts.model import read_model_version
from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.names import VersionName, may_refer
from visionyard.kit.objectstore.port import ObjectStore

_EXPORTABLE_TASK = "detect"


@dataclass(frozen=True)
class ExportSpecification:
    """What to export, and how.

    Attributes:
        model_version: The source.
        format: The kind of file.
        dataset_version: ``projects/{project}/datasets/{dataset}/versions/{number}`` to compare on; empty for the model's own.
    """

    model_version: VersionName
    format: ArtifactFormat
    dataset_version: str

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's document keeps it."""
        return {"model_version": str(self.model_version), "format": self.format.value, "dataset_version": self.dataset_version}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ExportSpecification:
        """Reads what :meth:`to_json` wrote."""
        return cls(
            VersionName.parse(document["model_version"], "models", allow_newest=False),
            ArtifactFormat(document["format"]),
            document["dataset_version"],
        )


def resolve(store: ObjectStore, project: str, asked: ExportSpecification) -> ExportSpecification:
    """Settles which versions are meant, and that they can be exported.

    Args:
        store: The bucket.
        project: The job's project; everything lies in it or in the shared one. An artifact lies with its model.
        asked: What the request says; the newest versions have no number.

    Returns:
        The same with numbers.

    Raises:
        YardError: MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND, DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND, UNSUPPORTED_TASK or INVALID_FIELD.
    """
    _must_reach(asked.model_version, project, "export_job.spec.model_version")
    model = read_model_version(store, asked.model_version)
    if model.task != _EXPORTABLE_TASK:
        raise YardError(
            Reason.UNSUPPORTED_TASK,
            f"{model.name} is a {model.task!r} model, and only detection models can be exported so far",
            {"task": model.task},
        )
    dataset_version = ""
    if asked.dataset_version:
        name = VersionName.parse(asked.dataset_version, "datasets")
        _must_reach(name, project, "export_job.spec.dataset_version")
        dataset_version = str(versions.resolve(store, name).name)
    return ExportSpecification(model.name, asked.format, dataset_version)


def _must_reach(name: VersionName, project: str, field: str) -> None:
    if not may_refer(project, name.parent.project):
        raise invalid_field(field, f"lies in project {name.parent.project!r}, but the job belongs to project {project!r}")
