"""Queues and shows import jobs. All calls block; the servicer runs them in threads."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any

from visionyard.dataset.catalogue import Catalogue
from visionyard.dataset.converting.datumaro import missing
from visionyard.dataset.fetching.addresses import AllowList
from visionyard.dataset.import_spec import ImportSpec
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.errors import YardError, invalid_field
from visionyard.kit.jobs.model import Job, JobState, ProgressSnapshot
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import SHARED_PROJECT, ProjectName, ResourceName, VersionName, may_refer
from visionyard.kit.objectstore.ahead import read_ahead
from visionyard.kit.transfer.uploads import UploadStore

_CACHED_BYTES = 64 << 20
_CLASS_BYTES = 400
_RESULT_BYTES = 4000


@dataclass(frozen=True)
class ImportView:
    """A job with what is shown beside its document.

    Attributes:
        job: The job.
        progress: How far its worker is.
        queue_position: Its place in the queue, from 1; 0 unless it waits.
        version: What it made, once it has succeeded.
        report: What it found; None where it has not got that far.
    """

    job: Job
    progress: ProgressSnapshot
    queue_position: int
    version: DatasetVersion | None
    report: dict[str, Any] | None


def _check_sources(project: ProjectName, spec: ImportSpec) -> None:
    """Refuses a derivation from another project's version: only those of the shared project are everybody's, and publishing goes there.

    Raises:
        YardError: INVALID_FIELD.
    """
    if spec.derivation is None:
        return
    publishes = spec.derivation.operation == "publish"
    if publishes and project.project != SHARED_PROJECT:
        raise invalid_field("import_job.spec.derivation.publish", f"publishes to the project {SHARED_PROJECT!r}, not to {project}")
    for source in spec.derivation.sources:
        if not publishes and not may_refer(project.project, source.parent.project):
            raise invalid_field("import_job.spec.derivation", f"{source} is not in {project}")


_Result = tuple[DatasetVersion | None, dict[str, Any] | None]


class _Results:
    """Versions and reports of ended jobs, those asked for last. A report may take 20 MB, a version of many classes 4, so bytes are counted, not jobs.

    Threads may share it.

    Args:
        limit_bytes: About how much memory it may take.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held: OrderedDict[ResourceName, tuple[int, _Result]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, name: ResourceName) -> _Result | None:
        with self._lock:
            if name not in self._held:
                return None
            self._held.move_to_end(name)
            return self._held[name][1]

    def put(self, name: ResourceName, result: _Result) -> None:
        size = _size(result)
        with self._lock:
            self._bytes += size - self._held.pop(name, (0, None))[0]
            self._held[name] = size, result
            while self._bytes > self._limit:
                self._bytes -= self._held.popitem(last=False)[1][0]


def _size(result: _Result) -> int:
    """About how many bytes of memory a result takes."""
    version, report = result
    findings = report["findings"] if report else []
    classes = len(version.classes) if version else 0
    texts = sum(sys.getsizeof(finding) + sum(map(sys.getsizeof, finding.values())) for finding in findings)
    return _RESULT_BYTES + classes * _CLASS_BYTES + texts


class Imports:
    """The use cases of import jobs.

    Args:
        jobs: The import jobs in the bucket.
        catalogue: The datasets in it.
        uploads: The uploads in it.
        allow: What may be fetched.
        has_datumaro: Whether Datumaro was set up.
    """

    def __init__(
        self, jobs: JobService, catalogue: Catalogue, uploads: UploadStore, allow: AllowList, *, has_datumaro: bool = False
    ) -> None:
        self.jobs = jobs
        self._catalogue = catalogue
        self._uploads = uploads
        self._allow = allow
        self._has_datumaro = has_datumaro
        self._results = _Results(_CACHED_BYTES)

    def create(self, project: ProjectName, spec: ImportSpec, request_id: str) -> ImportView:
        """Queues a job; a repeated request finds its job, also when its upload is gone already.

        Raises:
            YardError: INVALID_FIELD, CONVERTER_MISSING, UPLOAD_NOT_FOUND, UPLOAD_INCOMPLETE, SOURCE_NOT_ALLOWED, DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND, REQUEST_ID_REUSED.
        """
        for name in (spec.dataset, *spec.uploads):
            if name.project != project.project:
                raise invalid_field(f"import_job.spec.{name.collection[:-1]}", f"{name} is not in {project}")
        if not (request_id and self.jobs.records.was_requested(project.project, request_id)):
            if spec.datumaro_format and not self._has_datumaro:
                raise missing()
            if spec.source_url:
                self._allow.allowed(spec.source_url)
            for upload in spec.uploads:
                self._uploads.open(upload).close()  # refuses one that is not complete
            resolved = self._catalogue.resolved(spec)
            _check_sources(project, resolved)
        else:
            resolved = self._resolved_again(spec)
        return self.view(self.jobs.create(project.project, resolved.to_json(), request_id, asked=spec.to_json()))

    def _resolved_again(self, spec: ImportSpec) -> ImportSpec:
        """For a job that was asked for already but may never have been made. Where it was, this does not count, and its sources may be gone."""
        try:
            return self._catalogue.resolved(spec)
        except YardError:
            return spec

    def get(self, name: ResourceName) -> ImportView:
        """Reads a job.

        Raises:
            YardError: JOB_NOT_FOUND.
        """
        return self.view(self.jobs.get(name))

    def list_jobs(self, project: ProjectName, page_size: int, page_token: str) -> tuple[list[ImportView], str]:
        """A page of a project's jobs, newest first, without their reports, and the next page's token.

        Raises:
            YardError: INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        jobs, token = self.jobs.list(project.project, page_size, page_token)
        return list(read_ahead(partial(self.view, with_report=False), jobs)), token

    def cancel(self, name: ResourceName) -> ImportView:
        """Cancels a job; the upload of one that no worker had begun goes at once.

        Raises:
            YardError: JOB_NOT_FOUND, JOB_FINISHED.
        """
        job = self.jobs.cancel(name)
        if job.state is JobState.CANCELLED:
            for upload in ImportSpec.from_json(job.spec).uploads:
                self._uploads.delete(upload)
        return self.view(job)

    def view(self, job: Job, progress: ProgressSnapshot | None = None, *, with_report: bool = True) -> ImportView:
        """A job with its progress (read, unless given or the job has ended), its place in the queue, its version and report."""
        version, report = self._result(job, with_report=with_report)
        if progress is None:
            progress = ProgressSnapshot() if job.state.finished else self.jobs.progress(job)
        return ImportView(job, progress, self.jobs.queue_position(job), version, report)

    def _result(self, job: Job, *, with_report: bool) -> tuple[DatasetVersion | None, dict[str, Any] | None]:
        """Version and report of a job that has ended; read once, for they never change."""
        if not job.state.finished:
            return None, None
        if (known := self._results.get(job.name)) is not None:
            version, report = known
            if report is not None or not with_report:
                return version, report if with_report else None
        version = self._version(job)
        key = job.pointers.get("report_key")
        report = self._catalogue.read_report(key) if key and with_report else None
        self._results.put(job.name, (version, report))
        return version, report

    def _version(self, job: Job) -> DatasetVersion | None:
        if job.state is not JobState.SUCCEEDED or "version" not in job.pointers:  # a dry run makes none
            return None
        try:
            return self._catalogue.get_version(VersionName.parse(job.pointers["version"], "datasets"))
        except YardError:
            return None  # deleted since
