"""What a room's servicer does with jobs: create, read, list, cancel, watch. The calls block, except :meth:`JobService.watch`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.events import JobEvents
from visionyard.kit.jobs.model import Job, JobKind, JobState, ProgressSnapshot
from visionyard.kit.jobs.queue import Place, fair_order
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.jobs.signals import signalled
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable
from visionyard.kit.pagination import Page, paginate
from visionyard.kit.request_id import get_request_id

_WATCH_INTERVAL_S = 1.0
"""Between two looks at a job that nobody says anything about; a look costs the store two reads."""
_STORE_PATIENCE_S = 60.0
_STORE_AWAY_PAUSE_S = 0.4
_PROGRESS_BITS = 24
_QUEUE_FRESH_S = 1.0


class JobService:
    """The use cases of one kind of job.

    Args:
        store: The bucket.
        kind: Which kind.
        events: Hears of every change that is made here.
    """

    def __init__(self, store: ObjectStore, kind: JobKind, events: JobEvents | None = None) -> None:
        self.records = JobRecords(store, kind, events)
        self.kind = kind
        self._queue: tuple[float, dict[ResourceName, int]] = (-_QUEUE_FRESH_S, {})
        self._queue_lock = threading.Lock()
        self._on_queued: Callable[[], None] | None = None
        self._watching: set[asyncio.Event] = set()
        self._news = 0

    def tell(self, on_queued: Callable[[], None]) -> None:
        """Has a dispatcher of this process told of each job that is queued here, so that it need not wait for its next look; called in any thread."""
        self._on_queued = on_queued

    def look(self) -> None:
        """Has everybody who watches a job here look at it now; called on the event loop by whoever knows that one has begun or ended."""
        self._news += 1
        for told in self._watching:
            told.set()

    def create(
        self,
        project: str,
        spec: dict[str, Any],
        request_id: str,
        asked: dict[str, Any] | None = None,
        *,
        priority: int = 0,
        follows: str = "",
    ) -> Job:
        """Queues a job; the same request_id again, asking for the same, gives the same job.

        Args:
            project: The project's id.
            spec: What to do, everything resolved.
            request_id: The client's key for this creation; empty for none.
            asked: What was asked for, where ``spec`` resolves it further.
            priority: From -1000 to 1000; see :class:`Job`.
            follows: See :class:`Job`.

        Raises:
            YardError: REQUEST_ID_REUSED.
        """
        job, _ = self.records.create(project, spec, request_id, get_request_id(), asked, priority=priority, follows=follows)
        if self._on_queued is not None:
            self._on_queued()
        return job

    def get(self, name: ResourceName) -> Job:
        """Reads a job.

        Raises:
            YardError: JOB_NOT_FOUND.
        """
        return self.records.get(name)

    def progress(self, job: Job) -> ProgressSnapshot:
        """How far the job's worker is."""
        return self.records.progress(job) if job.attempt else ProgressSnapshot()

    def list(self, project: str, page_size: int, page_token: str) -> tuple[list[Job], str]:
        """A page of a project's jobs, newest first, and the token of the next page.

        Raises:
            YardError: INVALID_PAGE_TOKEN, INVALID_FIELD.
        """
        page: Page = paginate(f"projects/{project}/{self.kind.collection}", page_size, page_token)
        jobs, last = self.records.list(project, page.after, page.size)
        return jobs, page.next_token(last) if last else ""

    def cancel(self, name: ResourceName) -> Job:
        """Cancels a queued job at once, and asks a running one's worker to stop.

        Raises:
            YardError: JOB_NOT_FOUND, JOB_FINISHED.
        """

        def change(job: Job, now: datetime) -> Job | None:
            if job.state in {JobState.CANCELLING, JobState.CANCELLED}:
                return None
            if job.state.finished:
                raise YardError(
                    Reason.JOB_FINISHED,
                    f"job {name.id} has already ended {job.state.value}, so it cannot be cancelled",
                    {"name": str(name), "state": job.state.value},
                )
            if job.state is JobState.QUEUED:
                return job.changed(state=JobState.CANCELLED, end_time=now)
            return job.changed(state=JobState.CANCELLING)

        return self.records.update(name, change)

    def resume(self, name: ResourceName, spec: Callable[[Job], dict[str, Any]], pointers: Callable[[Job], dict[str, Any]]) -> Job:
        """Queues an ended job once more; its next worker goes on from the pointers. Doing so twice is no error.

        Args:
            name: The job.
            spec: Gives what to do from now on; may raise YardError.
            pointers: Gives what of its pointers its next worker gets; may raise YardError.

        Raises:
            YardError: JOB_NOT_FOUND, or JOB_UNFINISHED where it waits or runs and is to do something else.
        """

        def change(job: Job, _: datetime) -> Job | None:
            wanted = spec(job)
            if not job.state.finished:
                if wanted == job.spec and job.resumptions:
                    return None
                raise YardError(
                    Reason.JOB_UNFINISHED,
                    f"job {name.id} is {job.state.value}, so there is nothing to resume: wait for its end, or cancel it first",
                    {"name": str(name), "state": job.state.value},
                )
            return job.changed(
                state=JobState.QUEUED,
                spec=wanted,
                pointers=pointers(job),
                error=None,
                end_time=None,
                crashes=0,
                resumptions=job.resumptions + 1,
            )

        resumed = self.records.update(name, change)
        if self._on_queued is not None:
            self._on_queued()
        return resumed

    def queue_position(self, job: Job) -> int:
        """Its place in the order in which waiting jobs get slots, from 1; a held one's is behind all that wait; 0 unless it is queued.

        The queue is read at most once a second, however many jobs are listed and watched; a job that has only just come stands at its end.
        """
        if job.state is not JobState.QUEUED:
            return 0
        with self._queue_lock:
            read_at, places = self._queue
            if time.monotonic() - read_at >= _QUEUE_FRESH_S:
                running = Counter(marker.job.project for marker in self.records.markers(Place.RUNNING))
                order = fair_order(self.records.markers(Place.WAITING), running)
                places = {marker.job: place for place, marker in enumerate(order, 1)}
                self._queue = (time.monotonic(), places)
            if job.name not in places and not job.held:  # it has only just come
                places[job.name] = len(places) + 1
        return places.get(job.name, len(places) + 1)

    async def watch(self, name: ResourceName, after_sequence: int) -> AsyncIterator[tuple[Job, ProgressSnapshot, int]]:
        """Snapshots with a growing sequence: one at once, one at each change, the last when the job has ended.

        The sequence is made of the document's revision and the progress's own, both in the bucket, so it goes on growing across
        reconnects, restarts and takeovers.

        Raises:
            YardError: JOB_NOT_FOUND.
            StoreUnavailable: the store stayed away for a minute.
        """
        sent = after_sequence
        away_since: float | None = None
        while True:
            news = self._news
            try:
                job = await asyncio.to_thread(self.records.get, name)
                snapshot = await asyncio.to_thread(self.progress, job)
                away_since = None
            except StoreUnavailable:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _STORE_PATIENCE_S:
                    raise
                await asyncio.sleep(_STORE_AWAY_PAUSE_S)
                continue
            sequence = (job.revision << _PROGRESS_BITS) + min(snapshot.sequence, (1 << _PROGRESS_BITS) - 1)
            if sequence > sent or (job.state.finished and after_sequence == sent):
                sent = max(sequence, sent)
                yield job, snapshot, sent
            if job.state.finished:
                return
            await self._pause(news)

    async def _pause(self, news: int) -> None:
        """Waits until it is time for another look, or until :meth:`look` was called after ``news`` was read."""
        told = asyncio.Event()
        self._watching.add(told)
        try:
            if news == self._news:
                await signalled(told, _WATCH_INTERVAL_S)
        finally:
            self._watching.discard(told)
