"""The documents of one kind of job: created once per request, changed by compare-and-swap only."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.events import JobEvents
from visionyard.kit.jobs.model import (
    Job,
    JobKind,
    JobState,
    ProgressSnapshot,
    job_key,
    marker_key,
    new_job_id,
    progress_key,
    queue_prefix,
)
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.documents import Document, Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore

_CACHE_LIMIT = 20_000
_ORPHAN_MARKER_AGE = timedelta(hours=1)


class JobRecords:
    """Reads and changes the jobs of one kind. Safe for threads; documents are cached and validated by their etags.

    Args:
        store: The bucket.
        kind: Which kind.
        events: Hears of every change before it is made; None where nobody wants to.
    """

    def __init__(self, store: ObjectStore, kind: JobKind, events: JobEvents | None = None) -> None:
        self.store = store
        self.kind = kind
        self._events = events
        self._documents = Documents(store)
        self._cache: dict[str, Document] = {}
        self._lock = threading.Lock()

    def create(
        self, project: str, spec: dict[str, Any], request_id: str, call_id: str, asked: dict[str, Any] | None = None
    ) -> tuple[Job, bool]:
        """Queues a job, or finds the one that the same ``request_id`` queued before.

        The record of the request comes first and names the job; then the queue's marker; then the job. Dying in between leaves
        a marker that the dispatcher clears, and the next call with the same request_id goes on.

        Args:
            project: The project's id.
            spec: What to do.
            request_id: The client's key for this creation; empty for none.
            call_id: The ``x-request-id`` of the call.
            asked: What was asked for, where ``spec`` resolves it further ("the newest version"): a repeated request must ask for the same.

        Returns:
            The job, and whether this call made it.

        Raises:
            YardError: REQUEST_ID_REUSED, the request_id was used for another spec.
        """
        job_id = new_job_id()
        if request_id:
            job_id, at = self._claim_request(project, asked or spec, request_id, job_id)
        else:
            at = None
        name = ResourceName(project, self.kind.collection, job_id)
        try:
            return self.get(name), False
        except YardError as error:
            if error.reason is not Reason.JOB_NOT_FOUND:
                raise
        self.store.put(marker_key(self.kind, name), str(name).encode())
        created = at or self.store.head(marker_key(self.kind, name)).now
        job = Job(name, self.kind, spec, JobState.QUEUED, attempt=0, create_time=created, request_id=call_id, revision=1)
        if self._events is not None:
            self._events.changing(None, job)
        try:
            document = self._documents.create(job_key(name), job.body())
        except Conflict:  # the same request at the same moment
            return self.get(name), False
        return self._remember(name, document), True

    def was_requested(self, project: str, request_id: str) -> bool:
        """Whether a job was asked for under this request_id before, so that what it needed then need not be there any more."""
        try:
            self.store.head(self._request_key(project, request_id))
        except NotFound:
            return False
        return True

    def _request_key(self, project: str, request_id: str) -> str:
        digest = hashlib.sha256(f"{self.kind.value}\n{request_id}".encode()).hexdigest()
        return f"projects/{project}/requests/{digest}"

    def _claim_request(self, project: str, asked: dict[str, Any], request_id: str, job_id: str) -> tuple[str, datetime]:
        wanted = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        key = self._request_key(project, request_id)
        try:
            record = self._documents.create(key, {"job": job_id, "spec": wanted})
        except Conflict:
            record = self._documents.read(key)
        if record.body["spec"] != wanted:
            raise YardError(
                Reason.REQUEST_ID_REUSED,
                f"request_id {request_id} was used before for another {self.kind.value} job; choose a new one",
                {"request_id": request_id},
            )
        return str(record.body["job"]), record.last_modified

    def get(self, name: ResourceName) -> Job:
        """Reads a job; costs no bytes where the cached document still fits.

        Raises:
            YardError: JOB_NOT_FOUND.
        """
        with self._lock:
            cached = self._cache.get(str(name))
        try:
            document = self._documents.refresh(cached) if cached else self._documents.read(job_key(name))
        except NotFound:
            with self._lock:
                self._cache.pop(str(name), None)
            raise self._not_found(name) from None
        return self._remember(name, document)

    def _not_found(self, name: ResourceName) -> YardError:
        return YardError(
            Reason.JOB_NOT_FOUND,
            f"there is no {self.kind.value} job {name.id!r} in project {name.project!r}: see `yard job list`",
            {"name": str(name)},
        )

    def _remember(self, name: ResourceName, document: Document) -> Job:
        with self._lock:
            if len(self._cache) >= _CACHE_LIMIT:
                self._cache.pop(next(iter(self._cache)))
            self._cache[str(name)] = document
        return Job.from_document(name, self.kind, document)

    def update(self, name: ResourceName, change: Callable[[Job, datetime], Job | None]) -> Job:
        """Changes a job by compare-and-swap, as often as it takes.

        Args:
            name: The job.
            change: Gets the job as it is and the store's clock; returns it as it should be, or None to leave it. May raise.

        Raises:
            YardError: JOB_NOT_FOUND, or what ``change`` raises.
        """
        while True:
            # Read anew, not from the cache: the store's clock comes with the answer.
            try:
                document = self._documents.read(job_key(name))
            except NotFound:
                raise self._not_found(name) from None
            job = Job.from_document(name, self.kind, document)
            wanted = change(job, document.now)
            if wanted is None:
                return job
            if self._events is not None:
                self._events.changing(job, wanted)
            try:
                swapped = self._documents.swap(document, wanted.body())
            except Conflict:
                continue
            done = self._remember(name, swapped)
            if done.state.finished:
                self.store.delete(marker_key(self.kind, name))
            return done

    def list(self, project: str, before: str = "", limit: int = 50) -> tuple[list[Job], str]:
        """A page of a project's jobs, newest first: one listing, and a read for each document that changed.

        Args:
            project: The project's id.
            before: The last id of the page before; empty for the first page.
            limit: At most so many.

        Returns:
            The jobs, and the last id where there may be more, else an empty string.
        """
        prefix = f"projects/{project}/{self.kind.collection}/"
        jobs: list[Job] = []
        start = f"{prefix}{before}0" if before else ""
        for entry in self.store.list(prefix, start_after=start, delimiter="/"):
            if entry.is_prefix or not entry.key.endswith(".json"):
                continue
            name = ResourceName(project, self.kind.collection, entry.key[len(prefix) : -len(".json")])
            with self._lock:
                cached = self._cache.get(str(name))
            jobs.append(Job.from_document(name, self.kind, cached) if cached and cached.etag == entry.etag else self.get(name))
            if len(jobs) > limit:
                return jobs[:limit], jobs[limit - 1].name.id
        return jobs, ""

    def unfinished(self) -> Iterator[Job]:
        """The jobs that wait or run, of all projects, oldest first. Clears the markers of jobs that have ended or never began."""
        prefix = queue_prefix(self.kind)
        markers = [entry for entry in self.store.list(prefix) if entry.key.count("/") == prefix.count("/") + 1]
        # Ids sort newest first, so the oldest has the highest.
        for entry in sorted(markers, key=lambda marker: marker.key.rsplit("/", 1)[1], reverse=True):
            project, job_id = entry.key[len(prefix) :].split("/")
            name = ResourceName(project, self.kind.collection, job_id)
            try:
                job = self.get(name)
            except YardError:
                info = self._marker_age(entry.key)
                if info is not None and info > _ORPHAN_MARKER_AGE:
                    self.store.delete(entry.key)
                continue
            if job.state.finished:
                self.store.delete(entry.key)
                continue
            yield job

    def _marker_age(self, key: str) -> timedelta | None:
        try:
            info = self.store.head(key)
        except NotFound:
            return None
        return info.now - info.last_modified

    def progress(self, job: Job) -> ProgressSnapshot:
        """The newest snapshot: the running attempt's, or an earlier one's, with sequence 0, where that has none yet."""
        for attempt in range(job.attempt, max(job.attempt - 3, 0), -1):
            try:
                stored = self.store.get(progress_key(job.name, attempt))
            except NotFound:
                continue
            snapshot = ProgressSnapshot(**json.loads(stored.data))
            return snapshot if attempt == job.attempt else replace(snapshot, sequence=0)
        return ProgressSnapshot()
