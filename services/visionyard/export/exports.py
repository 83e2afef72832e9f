"""The use cases of the export service. All of them block; the servicer runs them in threads."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from visionyard.export.specification import ExportSpecification, resolve
from visionyard.kit.artifacts import exported, versions
from visionyard.kit.artifacts.exported import Artifact
from visionyard.kit.jobs.model import Job, JobState, ProgressSnapshot
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ArtifactName, ProjectName, ResourceName, VersionName
from visionyard.kit.objectstore.ahead import read_ahead
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.pagination import paginate

_CACHED_ARTIFACTS = 10_000


@dataclass(frozen=True)
class ExportView:
    """A job with what is shown beside its document.

    Attributes:
        job: The job.
        progress: How far its worker is.
        queue_position: Its place in the queue, from 1; 0 unless it waits.
        artifact: Its artifact, once it has succeeded.
    """

    job: Job
    progress: ProgressSnapshot
    queue_position: int
    artifact: Artifact | None


class Exports:
    """Queues and shows export jobs, and reads artifacts.

    Args:
        store: The bucket.
        jobs: The export jobs in it.
    """

    def __init__(self, store: ObjectStore, jobs: JobService) -> None:
        self._store = store
        self.jobs = jobs
        self._artifacts: dict[ArtifactName, Artifact] = {}

    def create(self, project: ProjectName, asked: ExportSpecification, request_id: str) -> ExportView:
        """Queues a job.

        Raises:
            YardError: what :func:`visionyard.export.specification.resolve` raises, REQUEST_ID_REUSED.
        """
        specification = resolve(self._store, project.project, asked)
        return self.view(self.jobs.create(project.project, specification.to_json(), request_id, asked=asked.to_json()))

    def get(self, name: ResourceName) -> ExportView:
        """Reads a job.

        Raises:
            YardError: JOB_NOT_FOUND.
        """
        return self.view(self.jobs.get(name))

    def list_jobs(self, project: ProjectName, page_size: int, page_token: str) -> tuple[list[ExportView], str]:
        """A page of a project's jobs, newest first, and the next page's token.

        Raises:
            YardError: INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        jobs, token = self.jobs.list(project.project, page_size, page_token)
        return list(read_ahead(self.view, jobs)), token

    def cancel(self, name: ResourceName) -> ExportView:
        """Cancels a job.

        Raises:
            YardError: JOB_NOT_FOUND, JOB_FINISHED.
        """
        return self.view(self.jobs.cancel(name))

    def view(self, job: Job, progress: ProgressSnapshot | None = None) -> ExportView:
        """A job with its progress (read, unless given or the job has ended), its place in the queue and its artifact."""
        artifact = self._artifact_of(job) if job.state is JobState.SUCCEEDED else None
        if progress is None:
            progress = ProgressSnapshot() if job.state.finished else self.jobs.progress(job)
        return ExportView(job, progress, self.jobs.queue_position(job), artifact)

    def _artifact_of(self, job: Job) -> Artifact | None:
        """A succeeded job's artifact; read once, for it never changes."""
        name = ArtifactName.parse(job.pointers["artifact"])
        artifact = self._artifacts.get(name)
        if artifact is None:
            artifact = exported.find_artifact(self._store, name)
            if artifact is not None and len(self._artifacts) < _CACHED_ARTIFACTS:
                self._artifacts[name] = artifact
        return artifact

    def get_artifact(self, name: ArtifactName) -> Artifact:
        """Reads an artifact.

        Raises:
            YardError: ARTIFACT_NOT_FOUND.
        """
        return exported.read_artifact(self._store, name)

    def list_artifacts(self, parent: VersionName, page_size: int, page_token: str) -> tuple[list[Artifact], str]:
        """A page of a model version's artifacts by key digest, and the next page's token.

        Raises:
            YardError: MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND, INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        version = versions.resolve(self._store, parent).name
        page = paginate(f"{version}/artifacts", page_size, page_token)
        found = list(itertools.islice(exported.list_artifacts(self._store, version, page.after), page.size + 1))
        artifacts = found[: page.size]
        return artifacts, page.next_token(artifacts[-1].name.id) if len(found) > page.size else ""
