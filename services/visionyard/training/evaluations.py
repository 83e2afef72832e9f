"""The use cases of evaluations: two models on the images of one dataset version, side by side. All calls block."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from visionyard.kit.artifacts.dataset import DatasetVersion, read_dataset_version
from visionyard.kit.artifacts.layout import class_folders
from visionyard.kit.artifacts.model import ModelVersion, read_model_version
from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.jobs.model import Job, JobKind, JobState, ProgressSnapshot
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ProjectName, ResourceName, VersionName, may_refer
from visionyard.kit.objectstore.port import NotFound, ObjectStore
from visionyard.training.reports.comparison_page import render_comparison

_SHOWN_CLASSES = 5


@dataclass(frozen=True)
class EvaluationSpec:
    """What to compare, on what; names are whole resource names with version numbers.

    Attributes:
        first_model_version: A model version.
        second_model_version: Another, or the same.
        dataset_version: The dataset version.
        split: Whose images.
    """

    first_model_version: str
    second_model_version: str
    dataset_version: str
    split: str = "val"

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's document keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> EvaluationSpec:
        """Reads what :meth:`to_json` wrote."""
        return cls(**document)


@dataclass(frozen=True)
class EvaluationView:
    """A job as it is shown.

    Attributes:
        job: The job.
        progress: How far its worker is.
        queue_position: Its place among the waiting ones, from 1; 0 unless it waits.
    """

    job: Job
    progress: ProgressSnapshot
    queue_position: int


class Evaluations:
    """Creates, reads and cancels evaluation jobs.

    Args:
        store: The bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.jobs = JobService(store, JobKind.EVALUATION)

    def create(self, project: ProjectName, spec: EvaluationSpec, request_id: str) -> EvaluationView:
        """Checks what is asked for and queues it.

        Args:
            project: The project; what the spec names must be in it, or in the shared one.
            spec: What to do; version numbers may be ``-`` for the newest, and the split empty for val.
            request_id: The client's key for this creation; empty for none.

        Raises:
            YardError: INVALID_NAME, INVALID_FIELD, UNSUPPORTED_TASK, VERSIONS_MISMATCH, DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND, MODEL_NOT_FOUND,
                MODEL_VERSION_NOT_FOUND or REQUEST_ID_REUSED.
        """
        dataset = self._reachable(project, spec.dataset_version, "datasets", "dataset_version")
        first = self._reachable(project, spec.first_model_version, "models", "first_model_version")
        second = self._reachable(project, spec.second_model_version, "models", "second_model_version")
        version = read_dataset_version(self._store, dataset)
        split = spec.split or "val"
        if version.split(split) is None:
            there = ", ".join(s.name for s in version.splits)
            raise invalid_field("evaluation_job.spec.split", f"{split[:40]!r} is no split of {version.name}: it has {there}")
        models = [read_model_version(self._store, name) for name in (first, second)]
        for model in models:
            must_fit(model, version)
        resolved = EvaluationSpec(str(models[0].name), str(models[1].name), str(version.name), split)
        return self.view(self.jobs.create(project.project, resolved.to_json(), request_id, asked=spec.to_json()))

    def _reachable(self, project: ProjectName, text: str, collection: str, field: str) -> VersionName:
        name = VersionName.parse(text, collection)
        if not may_refer(project.project, name.parent.project):
            raise invalid_field(f"evaluation_job.spec.{field}", f"{name} is neither in {project} nor shared")
        return name

    def view(self, job: Job, progress: ProgressSnapshot | None = None) -> EvaluationView:
        """The job with its progress and place in the queue."""
        return EvaluationView(job, progress or self.jobs.progress(job), self.jobs.queue_position(job))

    def get(self, name: ResourceName) -> EvaluationView:
        """Reads a job; raises YardError (JOB_NOT_FOUND)."""
        return self.view(self.jobs.get(name))

    def list_jobs(self, project: ProjectName, page_size: int, page_token: str) -> tuple[list[EvaluationView], str]:
        """A page of jobs, newest first, and the next page's token; raises YardError (INVALID_PAGE_TOKEN, INVALID_FIELD)."""
        jobs, token = self.jobs.list(project.project, page_size, page_token)
        return [self.view(job) for job in jobs], token

    def cancel(self, name: ResourceName) -> EvaluationView:
        """Cancels a job; raises YardError (JOB_NOT_FOUND, JOB_FINISHED)."""
        return self.view(self.jobs.cancel(name))

    def report(self, name: ResourceName) -> tuple[Job, dict[str, Any]]:
        """A job that has ended well and what it has found; see :mod:`visionyard.training.reports.comparison`.

        Raises:
            YardError: JOB_NOT_FOUND; JOB_UNFINISHED, it has not ended well; ARTIFACT_CORRUPT, its result is gone.
        """
        job = self.jobs.get(name)
        if job.state is not JobState.SUCCEEDED:
            raise YardError(
                Reason.JOB_UNFINISHED,
                f"job {name.id} is {job.state.value}: it has a report once it has succeeded",
                {"name": str(name), "state": job.state.value},
            )
        try:
            document: dict[str, Any] = json.loads(self._store.get(job.pointers["comparison"]["key"]).data)
        except NotFound:
            message = f"the result of job {name.id} is missing in the bucket: compare the models again"
            raise YardError(Reason.ARTIFACT_CORRUPT, message, {"name": str(name)}) from None
        return job, document

    def page(self, name: ResourceName) -> bytes:
        """The same as an HTML page; errors as for :meth:`report`."""
        return render_comparison(self._store, *self.report(name))


def must_fit(model: ModelVersion, version: DatasetVersion) -> None:
    """Refuses a model that is not for a set's task and classes.

    Raises:
        YardError: UNSUPPORTED_TASK or VERSIONS_MISMATCH.
    """
    if model.task != version.task:
        message = f"{version.name} is a set for {version.task}, and {model.name} is a model for {model.task}: take one for {version.task}"
        raise YardError(Reason.UNSUPPORTED_TASK, message, {"task": model.task})
    # A classifier's names are those of the folders that it was trained on.
    expected = class_folders(version) if version.task == "classify" else version.class_names
    if tuple(model.class_names) != tuple(expected):
        raise YardError(
            Reason.VERSIONS_MISMATCH,
            f"{model.name} knows the classes {_some(model.class_names)}, and {version.name} has {_some(expected)}: compare models on a set with their classes in "
            "their order",
            {"name": str(model.name)},
        )


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(name[:40] for name in names[:_SHOWN_CLASSES])
    return shown if len(names) <= _SHOWN_CLASSES else f"{shown} and {len(names) - _SHOWN_CLASSES} more"
