"""What a worker's handler works with: the job, the store, a scratch folder, and whether it is to stop."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from visionyard.kit.config import JobServiceSettings
from visionyard.kit.jobs.lease import Follower, Lease, LeaseLost, Preempted
from visionyard.kit.jobs.model import Job, JobState, ProgressSnapshot, attempt_prefix
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.jobs.reporter import Reporter
from visionyard.kit.objectstore.port import ObjectStore


class JobContext:
    """What a handler works with.

    Attributes:
        job: The job as it was claimed. ``job.pointers`` is what an earlier attempt had reached.
        store: The bucket, patient: it waits minutes for a store that comes back.
        scratch: A private folder, removed when the worker ends.
        settings: The service's settings.
    """

    def __init__(
        self, job: Job, records: JobRecords, lease: Lease | Follower, reporter: Reporter, scratch: Path, settings: JobServiceSettings
    ) -> None:
        self.job = job
        self.store: ObjectStore = records.store
        self.scratch = scratch
        self.settings = settings
        self._records = records
        self._lease = lease
        self._reporter = reporter

    @property
    def attempt_prefix(self) -> str:
        """Where this attempt may write, with the trailing slash. Objects there are immutable."""
        return attempt_prefix(self.job.name, self.job.attempt)

    @property
    def should_stop(self) -> bool:
        """Whether :meth:`check` would raise."""
        return self._lease.cause is not None

    def check(self) -> None:
        """Costs nothing; call it often.

        Raises:
            JobCancelled: somebody cancelled the job.
            Preempted: the worker was told to go.
            LeaseLost: another worker has the job.
        """
        if self._lease.cause is not None:
            raise self._lease.cause.value

    @property
    def asked_for_room(self) -> bool:
        """Whether a job of a higher priority waits for this one's slot."""
        return self._lease.yields_for_s > 0

    def make_room(self, longest_s: float = 0.0) -> None:
        """Gives the job back where one of a higher priority waits for its slot. Call it where little would be lost.

        Args:
            longest_s: Only where that one has waited for longer, in seconds.

        Raises:
            Preempted: it does.
        """
        if self._lease.yields_for_s > longest_s:
            raise Preempted

    def report(self, phase: str, done: int = 0, total: int = 0, unit: str = "", detail: dict[str, Any] | None = None) -> None:
        """Says how far the work is; cheap, the newest wins. ``detail`` is the room's own JSON and replaces the one before."""
        self._reporter.report(ProgressSnapshot(0, phase, done, total, unit, detail or {}))

    def flush_report(self) -> None:
        """Writes the newest report now, for a state that must not be skipped.

        Raises:
            StoreUnavailable: the store stayed away.
        """
        self._reporter.flush()

    def catch_up(self) -> None:
        """Takes over what other processes of this attempt's group have pointed at and reported; call it once they have ended.

        Raises:
            LeaseLost: another worker has the job.
        """
        current = self._records.get(self.job.name)
        must_own(current, self.job)
        self.job = current
        self._reporter.continue_from(self._records.progress(current).sequence)

    def point(self, **pointers: Any) -> None:
        """Merges ``pointers`` into the job's, by the lease owner's swap. What they name is written already, and spares the next attempt its making.

        So the deaths of workers before count no more: the job got further.

        Raises:
            LeaseLost: another worker has the job; nothing was changed.
        """
        self._move(pointers, crashes=0)

    def announce(self, **pointers: Any) -> None:
        """Merges ``pointers`` to what is about to be written, so that it can be cleared away; else like :meth:`point`.

        It saves no work, so the deaths of workers go on being counted: a job whose workers die behind every announcement fails in the end.

        Raises:
            LeaseLost: another worker has the job; nothing was changed.
        """
        self._move(pointers, crashes=None)

    def _move(self, pointers: dict[str, Any], crashes: int | None) -> None:
        def change(job: Job, _: datetime) -> Job:
            must_own(job, self.job)
            return job.changed(pointers={**job.pointers, **pointers}, crashes=job.crashes if crashes is None else crashes)

        self.job = self._records.update(self.job.name, change)


def must_own(current: Job, mine: Job) -> None:
    """Raises LeaseLost where another worker has the job, or it has ended."""
    if current.attempt != mine.attempt or current.state not in {JobState.RUNNING, JobState.CANCELLING}:
        raise LeaseLost
