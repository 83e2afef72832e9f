"""A process of an attempt's group: it has the job as a worker has it, but not the lease, which the group's leader holds.

Where several processes do a job's work together, on one machine or on several, the worker that the dispatcher started leads them: it beats, hears of a
cancellation, and ends them. One of them speaks for the group: it points and reports in the leader's place, which is silent as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionyard.kit.config import JobServiceSettings
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.lease import Follower, LeaseLost
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.jobs.reporter import Reporter
from visionyard.kit.jobs.worker import STORE_PATIENCE_S, MakeEvents
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.s3 import open_store
from visionyard.kit.request_id import set_request_id


@contextmanager
def joined(
    kind: JobKind,
    job_name: str,
    attempt: int,
    scratch: Path,
    settings: JobServiceSettings,
    follower: Follower,
    events: MakeEvents | None,
    *,
    watches: bool,
) -> Iterator[JobContext]:
    """Joins a running attempt.

    Args:
        kind: The kind of job.
        job_name: The job's resource name.
        attempt: The attempt that the leader has.
        scratch: A folder of this process's machine, removed by whoever started it.
        settings: The room's settings.
        follower: Says when to stop, and when to make room where it watches.
        watches: Whether it does, which one process of the group is enough for.
        events: As for :func:`.worker.run`.

    Yields:
        The job, for work like a worker's.

    Raises:
        LeaseLost: the attempt is not the running one any more.
        StoreUnavailable: the store stayed away.
    """
    store = open_store(settings, retry_for_s=STORE_PATIENCE_S)
    records = JobRecords(store, kind, events(store) if events is not None else None)
    job = records.get(ResourceName.parse(job_name, kind.collection))
    set_request_id(job.request_id)
    if job.attempt != attempt or job.state not in {JobState.RUNNING, JobState.CANCELLING}:
        raise LeaseLost
    reporter = Reporter(store, job)
    reporter.continue_from(records.progress(job).sequence)
    reporter.start()
    if watches:
        follower.watch(records, job, settings.heartbeat_s)
    try:
        yield JobContext(job, records, follower, reporter, scratch, settings)
    finally:
        follower.close()
        reporter.close()
