"""Who has a job: how an attempt is claimed, and what becomes of a job whose worker is gone without having said how it ended."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import Job, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.objectstore.port import StoreUnavailable

_log = logging.getLogger(__name__)
MAX_CRASHES = 6
"""So often in a row may workers die over a job before it fails."""


class Settler:
    """Settles jobs by compare-and-swap, so that whoever was faster has said it.

    Args:
        records: The jobs.
    """

    def __init__(self, records: JobRecords) -> None:
        self._records = records

    def claim(self, job: Job, node: str, slots: tuple[int, ...]) -> Job | None:
        """Takes the next attempt by compare-and-swap; None where somebody else was faster or the job has failed for good."""
        claimed = False

        def change(current: Job, now: datetime) -> Job | None:
            nonlocal claimed
            claimed = False
            if current.attempt != job.attempt or current.state is not job.state:
                return None
            crashes = current.crashes + (1 if current.state is JobState.RUNNING else 0)
            if crashes >= MAX_CRASHES:
                return current.changed(state=JobState.FAILED, error=crashed(current, crashes), end_time=now, node="")
            claimed = True
            return current.changed(
                state=JobState.RUNNING,
                attempt=current.attempt + 1,
                start_time=current.start_time or now,
                node=node,
                slots=slots,
                crashes=crashes,
            )

        taken = self._records.update(job.name, change)
        return taken if claimed else None

    def finish_cancel(self, job: Job) -> None:
        """Ends a job that is to be cancelled and has no worker any more. Blocks."""

        def change(current: Job, now: datetime) -> Job | None:
            if current.attempt != job.attempt or current.state is not JobState.CANCELLING:
                return None
            return current.changed(state=JobState.CANCELLED, end_time=now, node="")

        self._records.update(job.name, change)

    async def settle(self, job: Job, why: YardError | None) -> bool:
        """Whether the dead worker's job is in good hands again: ended, for the error that it could not write itself, queued or another's."""
        try:
            current = await asyncio.to_thread(self._records.get, job.name)
            if current.attempt == job.attempt and current.state is JobState.CANCELLING:
                await asyncio.to_thread(self.finish_cancel, current)
            elif current.attempt == job.attempt and current.state is JobState.RUNNING:
                await asyncio.to_thread(self.requeue, current, why)
        except StoreUnavailable as error:
            _log.warning("waiting for the store to take up %s again: %s", job.name, error)
            return False
        except YardError:
            return True  # the job's document is gone
        return True

    def requeue(self, job: Job, error: YardError | None = None, *, died: bool = True) -> None:
        """Puts a job whose worker is gone back into the queue, or ends it. Blocks.

        Args:
            job: The attempt.
            error: Why it fails; None where it may be tried again.
            died: Whether a worker died; else none could be started.
        """

        def change(current: Job, now: datetime) -> Job | None:
            if current.attempt != job.attempt or current.state is not JobState.RUNNING:
                return None
            # One that was not even started counts as no crash, but is no news either: it may be tried every few seconds.
            crashes = current.crashes + 1 if died else max(current.crashes, 1)
            if error is not None or crashes >= MAX_CRASHES:
                return current.changed(state=JobState.FAILED, error=error or crashed(current, crashes), end_time=now, node="")
            return current.changed(state=JobState.QUEUED, node="", crashes=crashes)

        self._records.update(job.name, change)


def crashed(job: Job, crashes: int) -> YardError:
    """What to tell people of a job whose workers die."""
    return YardError(
        Reason.WORKER_CRASHED,
        f"the worker died {crashes} times in a row without getting further, most likely for want of memory; see yard job logs {job.name.id}",
        {"attempts": str(job.attempt)},
    )
