"""The documents of one kind of job: created once per request, changed by compare-and-swap only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.events import JobEvents
from visionyard.kit.jobs.model import (
    Job,
    JobKind,
    JobState,
    ProgressSnapshot,
    job_key,
    new_job_id,
    progress_key,
)
from visionyard.kit.jobs.queue import Marker, Place, place_prefix
from visionyard.kit.jobs.requests import Requests
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.ahead import read_ahead
from visionyard.kit.objectstore.documents import Document, Documents
from visionyard.kit.objectstore.port import Conflict, Listing, NotFound, ObjectStore

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
        self._requests = Requests(self._documents, kind)
        self._cache: dict[str, Document] = {}
        self._lock = threading.Lock()

    def create(
        self,
        project: str,
        spec: dict[str, Any],
        request_id: str,
        call_id: str,
        asked: dict[str, Any] | None = None,
        *,
        priority: int = 0,
        follows: str = "",
        pointers: dict[str, Any] | None = None,
    ) -> tuple[Job, bool]:
        """Queues a job, or finds the one that the same ``request_id`` queued before.

        The record of the request comes first and names the job; then the queue's marker; then the job. Dying in between leaves
        a marker that whoever reads the queue clears, and the next call with the same request_id goes on.

        Args:
            project: The project's id.
            spec: What to do.
            request_id: The client's key for this creation; empty for none.
            call_id: The ``x-request-id`` of the call.
            asked: What was asked for, where ``spec`` resolves it further ("the newest version"): a repeated request must ask for the same.
            priority: See :class:`Job`.
            follows: Likewise.
            pointers: What is known of it before any worker has it.

        Returns:
            The job, and whether this call made it.

        Raises:
            YardError: REQUEST_ID_REUSED, the request_id was used for another spec.
        """
        fresh = new_job_id()
        if request_id:
            job_id, at = self._requests.claim(project, request_id, asked or spec, fresh)
            # A call that died left a marker of this very name, which somebody who found it old may be about to clear.
            made_again = job_id != fresh
        else:
            job_id, at, made_again = fresh, None, False
        name = ResourceName(project, self.kind.collection, job_id)
        try:
            return self.get(name), False
        except YardError as error:
            if error.reason is not Reason.JOB_NOT_FOUND:
                raise
        now = datetime.now(UTC)  # until the store tells its own
        job = Job(
            name,
            self.kind,
            spec,
            JobState.QUEUED,
            0,
            now,
            call_id,
            pointers or {},
            priority=priority,
            follows=follows,
            held=bool(follows),
            revision=1,
        )
        marker = self._put(job)
        job = replace(job, create_time=at or self.store.head(marker).now)
        if self._events is not None:
            self._events.changing(None, job)
        try:
            document = self._documents.create(job_key(name), job.body())
        except Conflict:  # the same request at the same moment
            return self.get(name), False
        if made_again:
            self._put(job)
        return self._remember(name, document), True

    def was_requested(self, project: str, request_id: str) -> bool:
        """Whether a job was asked for under this request_id before, so that what it needed then need not be there any more."""
        return self._requests.was_made(project, request_id)

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
            moves = wanted.marker != job.marker
            if moves:
                wanted = replace(wanted, turn=job.turn + 1)
                self._put(wanted)
            if self._events is not None:
                self._events.changing(job, wanted)
            try:
                swapped = self._documents.swap(document, wanted.body())
            except Conflict:
                continue  # the marker is another's now, or left over
            if moves and job.marker is not None:
                self.store.delete(job.marker.key(self.kind.value))
            elif moves:  # as in create(): a resumption that died may have left this very marker
                self._put(wanted)
            return self._remember(name, swapped)

    def _put(self, job: Job) -> str:
        """Puts the marker of where a job is going to stand; returns its key, empty where the job ends."""
        if job.marker is None:
            return ""
        key = job.marker.key(self.kind.value)
        self.store.put(key, str(job.name).encode())
        return key

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
        listed = self._listed(
            prefix, f"{prefix}{before}0" if before else "", 2 * (limit + 1)
        )  # a job may have a folder beside its document
        documents = (entry for entry in listed if not entry.is_prefix and entry.key.endswith(".json"))

        def read(entry: Listing) -> Job:
            name = ResourceName(project, self.kind.collection, entry.key[len(prefix) : -len(".json")])
            with self._lock:
                cached = self._cache.get(str(name))
            return Job.from_document(name, self.kind, cached) if cached and cached.etag == entry.etag else self.get(name)

        jobs = list(read_ahead(read, islice(documents, limit + 1)))
        return jobs[:limit], jobs[limit - 1].name.id if len(jobs) > limit else ""

    def _listed(self, prefix: str, start_after: str, at_once: int) -> Iterator[Listing]:
        """A folder's entries, so many of them in a request: a page of 50 jobs need not wait for a list of 1,000."""
        while True:
            page = [*self.store.list(prefix, start_after=start_after, delimiter="/", limit=at_once)]
            yield from page
            if len(page) < at_once:
                return
            start_after = page[-1].key

    def markers(self, place: Place) -> Sequence[Marker]:
        """The markers of one place, in no order; one listing, no document is read. Some may be left over: see :meth:`at`."""
        kind, collection = self.kind.value, self.kind.collection
        found = (Marker.parse(entry.key, kind, collection) for entry in self.store.list(place_prefix(kind, place)))
        return [marker for marker in found if marker is not None]

    def waiting_above(self, priority: int) -> Sequence[Marker]:
        """The markers of waiting jobs of a higher priority, in no order; their keys sort first, so that mostly one listing's first page is read."""
        kind, collection = self.kind.value, self.kind.collection
        found: list[Marker] = []
        for entry in self.store.list(place_prefix(kind, Place.WAITING)):
            marker = Marker.parse(entry.key, kind, collection)
            if marker is not None and marker.priority <= priority:
                break
            if marker is not None:
                found.append(marker)
        return found

    def standing(self, marker: Marker) -> Job | None:
        """The job of a marker where it stands there; None where it does not, or not yet. Clears nothing: for markers listed a while ago, most of which are gone."""
        try:
            job = self.get(marker.job)
        except YardError:
            return None
        return job if job.marker == marker else None

    def at(self, marker: Marker) -> Job | None:
        """The job of a marker, which may stand elsewhere by now; None where it has ended or never began.

        A marker that is left over is cleared: at once where the job has moved on; where whoever put it died before the job came to be, or was resumed, after
        an hour, in which he could still be about to do so.
        """
        try:
            job = self.get(marker.job)
        except YardError:
            self._clear_if_old(marker)
            return None
        if job.marker != marker and job.turn >= marker.turn:
            self.store.delete(marker.key(self.kind.value))
        elif job.state.finished:
            self._clear_if_old(marker)
        return None if job.state.finished else job

    def running(self) -> Iterator[Job]:
        """The jobs, of all projects, that a worker has or had."""
        for marker in self.markers(Place.RUNNING):
            job = self.at(marker)
            if job is not None and job.state is not JobState.QUEUED:
                yield job

    def states(self) -> Sequence[JobState]:
        """The state of each job that has not ended; reads the documents of the running ones only."""
        queued = len(self.markers(Place.WAITING)) + len(self.markers(Place.HELD))
        return [JobState.QUEUED] * queued + [job.state for job in self.running()]

    def unfinished(self) -> Iterator[Job]:
        """The jobs that wait or run, of all projects, oldest first; reads the document of each."""
        # A job that moves meanwhile has the new place's marker before it loses the old one's, so in this order none is missed.
        found = {
            marker.job: marker for place in (Place.HELD, Place.WAITING, Place.RUNNING, Place.WAITING) for marker in self.markers(place)
        }
        for name in sorted(found, key=lambda name: name.id, reverse=True):  # ids sort newest first
            job = self.at(found[name])
            if job is not None:
                yield job

    def _clear_if_old(self, marker: Marker) -> None:
        key = marker.key(self.kind.value)
        try:
            info = self.store.head(key)
        except NotFound:
            return
        if info.now - info.last_modified <= _ORPHAN_MARKER_AGE:
            return
        self.store.delete(key)
        # Whoever put it may have come back between the look and the deletion. Until his job stands there he puts it once more himself.
        if (job := self.standing(marker)) is not None:
            self._put(job)

    def count_waiting(self) -> int:
        """How many jobs wait for a slot or for another's end. Reads documents until it finds one that does, so that what is left over counts for an hour at most."""

        def markers() -> list[Marker]:
            return [*self.markers(Place.WAITING), *self.markers(Place.HELD)]

        found = markers()
        return len(found) if any(self.at(marker) is not None for marker in found) else len(found and markers())

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
