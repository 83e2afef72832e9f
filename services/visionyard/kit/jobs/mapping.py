"""Jobs on the wire: ``visionyard.jobs.v1``."""

from __future__ import annotations

from datetime import datetime

from google.protobuf import timestamp_pb2

from visionyard.jobs.v1 import job_pb2
from visionyard.kit.jobs.model import Job, JobState, ProgressSnapshot
from visionyard.kit.status import to_status

_STATES = {
    JobState.QUEUED: job_pb2.JOB_STATE_QUEUED,
    JobState.RUNNING: job_pb2.JOB_STATE_RUNNING,
    JobState.CANCELLING: job_pb2.JOB_STATE_CANCELLING,
    JobState.SUCCEEDED: job_pb2.JOB_STATE_SUCCEEDED,
    JobState.FAILED: job_pb2.JOB_STATE_FAILED,
    JobState.CANCELLED: job_pb2.JOB_STATE_CANCELLED,
}


def timestamp(time: datetime | None) -> timestamp_pb2.Timestamp | None:
    """A proto timestamp, or None (an unset field) for None."""
    if time is None:
        return None
    result = timestamp_pb2.Timestamp()
    result.FromDatetime(time)
    return result


def job_status(job: Job, progress: ProgressSnapshot, queue_position: int = 0) -> job_pb2.JobStatus:
    """What every kind of job tells about itself.

    Args:
        job: The job.
        progress: Its newest snapshot.
        queue_position: Its place among the waiting ones, from 1; 0 once it runs.
    """
    return job_pb2.JobStatus(
        state=_STATES[job.state],
        attempt=job.attempt,
        progress=job_pb2.Progress(phase=progress.phase, done=progress.done, total=progress.total, unit=progress.unit),
        error=to_status(job.error) if job.error else None,
        start_time=timestamp(job.start_time),
        end_time=timestamp(job.end_time),
        queue_position=queue_position,
    )
