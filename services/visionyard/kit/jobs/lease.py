"""A worker's hold on its job: it beats, sees that it was asked to stop or superseded, and makes sure that it does stop."""

from __future__ import annotations

import enum
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

from visionyard.kit.errors import YardError
from visionyard.kit.jobs.model import Job, JobState, heartbeat_key
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.objectstore.port import StoreUnavailable

_log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another worker has taken the job over; this one must stop and change nothing."""


class JobCancelled(Exception):
    """Somebody asked for the job to be cancelled."""


class Preempted(Exception):
    """The worker was told to go (SIGTERM); the job goes back to the queue."""


class Crashed(Exception):
    """A process that the work needs has died: the attempt ends as if its worker had, so the job is taken up again, a limited number of times."""


class StopCause(enum.Enum):
    """Why a worker must stop, strongest first."""

    LEASE_LOST = LeaseLost
    CANCELLED = JobCancelled
    PREEMPTED = Preempted


class Lease:
    """Heartbeats of one attempt, from a thread of its own.

    Args:
        records: The jobs of this kind.
        job: The job, claimed for this attempt.
        interval_s: Seconds between beats.
        grace_s: How long the work may go on after it was asked to stop, by cause; then ``overrun`` is called.
        overrun: Ends the process by force; called from the lease's thread.
    """

    def __init__(
        self, records: JobRecords, job: Job, interval_s: float, grace_s: dict[StopCause, float], overrun: Callable[[StopCause], None]
    ) -> None:
        self._records = records
        self._job = job
        self._interval_s = interval_s
        self._grace_s = grace_s
        self._overrun = overrun
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._cause: StopCause | None = None
        self._asked_at = 0.0
        self._yields_since: float | None = None
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def cause(self) -> StopCause | None:
        """Why the work must stop, or None while it may go on."""
        return self._cause

    @property
    def yields_for_s(self) -> float:
        """For how many seconds a job of a higher priority has been waiting for this one's slot; 0 while none does."""
        return 0.0 if self._yields_since is None else time.monotonic() - self._yields_since

    def start(self) -> None:
        """Beats once at once, then in the background."""
        self._write()
        self._thread.start()

    def preempt(self, *_: object) -> None:
        """The SIGTERM handler's part: asks the work to stop."""
        self._ask(StopCause.PREEMPTED)

    def close(self) -> None:
        """Stops beating."""
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=30)

    def _ask(self, cause: StopCause) -> None:
        order = list(StopCause)
        if self._cause is None or order.index(cause) < order.index(self._cause):
            self._cause = cause
            self._asked_at = time.monotonic()
            self._wake.set()

    def _write(self) -> None:
        body = {"node": self._job.node, "host": socket.gethostname(), "pid": os.getpid(), "slots": list(self._job.slots)}
        self._records.store.put(heartbeat_key(self._job.name, self._job.attempt), json.dumps(body).encode())

    def _beat(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(self._interval_s)
            self._wake.clear()
            if self._closed.is_set():
                return
            try:
                self._look()
                self._write()
            except (StoreUnavailable, YardError) as error:
                # The store's outage is the job's own to survive; a lease that ran out meanwhile is seen at the next beat.
                _log.warning("heartbeat failed: %s", error)
            cause = self._cause
            if cause is not None and not self._closed.is_set() and time.monotonic() - self._asked_at > self._grace_s[cause]:
                _log.error("the work did not stop within %s s of %s: ending the worker by force", self._grace_s[cause], cause.name)
                self._overrun(cause)

    def _look(self) -> None:
        job = self._records.get(self._job.name)
        if job.attempt != self._job.attempt or job.state in {JobState.QUEUED, JobState.FAILED, JobState.CANCELLED, JobState.SUCCEEDED}:
            self._ask(StopCause.LEASE_LOST)
        elif job.state is JobState.CANCELLING:
            self._ask(StopCause.CANCELLED)
        elif job.yields_to and self._yields_since is None:
            _log.info("%s has a higher priority and waits for this slot", job.yields_to)
            self._yields_since = time.monotonic()


class Follower:
    """What a process of an attempt's group has in place of the lease, which the group's leader holds: it stops where that one tells it to (SIGTERM)."""

    def __init__(self) -> None:
        self._cause: StopCause | None = None
        self._yields_since: float | None = None
        self._closed = threading.Event()

    @property
    def cause(self) -> StopCause | None:
        """Why the work must stop, or None while it may go on."""
        return self._cause

    @property
    def yields_for_s(self) -> float:
        """For how many seconds a job of a higher priority has been waiting for the group's slots; 0 while none does, or :meth:`watch` was not called."""
        return 0.0 if self._yields_since is None else time.monotonic() - self._yields_since

    def preempt(self, *_: object) -> None:
        """The SIGTERM handler's part: asks the work to stop."""
        self._cause = StopCause.PREEMPTED

    def watch(self, records: JobRecords, job: Job, interval_s: float) -> None:
        """Looks now and then, from a thread of its own, whether the job has been asked to make room.

        Args:
            records: The jobs of this kind.
            job: The job.
            interval_s: Seconds between two looks.
        """

        def look() -> None:
            while self._yields_since is None and not self._closed.wait(interval_s):
                try:
                    if records.get(job.name).yields_to:
                        self._yields_since = time.monotonic()
                except (StoreUnavailable, YardError) as error:
                    _log.warning("the job's document could not be read: %s", error)

        threading.Thread(target=look, name="follower", daemon=True).start()

    def close(self) -> None:
        """Looks no more."""
        self._closed.set()


def on_sigterm(lease: Lease | Follower) -> None:
    """Takes SIGTERM as a preemption. Call it from the main thread."""
    signal.signal(signal.SIGTERM, lease.preempt)
