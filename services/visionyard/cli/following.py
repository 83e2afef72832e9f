"""Following a job to its end, and beginning what an upload is needed for."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from visionyard.cli.durations import duration_text
from visionyard.cli.output import enum_word
from visionyard.cli.pending import Pending
from visionyard.cli.progress import Step
from visionyard.cli.session import Session
from visionyard.client.endpoints import Service
from visionyard.client.errors import ClientError
from visionyard.client.jobs import AnyJob, AsyncJobs, JobT, Snapshot, new_request
from visionyard.client.sources import Source
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.errors import Code, Reason
from visionyard.training.v1 import training_job_pb2

_SHOWN_METRIC = re.compile(r"train/.*loss|metrics/mAP.*")
_MAY_BE_QUEUED = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNKNOWN, Code.INTERNAL})
"""Errors after which the job may have been created all the same: its answer was late or lost, or the service fell over on its way to it."""
_UPLOAD_GONE = frozenset({Reason.UPLOAD_NOT_FOUND.name, Reason.UPLOAD_INCOMPLETE.name})


async def follow(session: Session, jobs: AsyncJobs[JobT], job: JobT, pending: Pending | None = None) -> JobT:
    """Shows a job's progress until it has ended.

    Args:
        session: The run.
        jobs: The calls of its kind.
        job: The job.
        pending: The request that made it; ended by Ctrl-C, because the job goes on without it.

    Returns:
        The job as it ended.

    Raises:
        JobFailed: it failed.
        JobCancelled: it was cancelled.
    """
    show = JobProgress(session)
    try:
        return await jobs.wait(job.name, show)
    except asyncio.CancelledError:
        if pending is not None:
            pending.end()
        say_it_goes_on(session, job)
        raise


def say_it_goes_on(session: Session, job: AnyJob) -> None:
    """What Ctrl-C leaves behind."""
    id_ = job.name.split("/")[-1]
    session.progress.say(f"stopped following; the job goes on: `yard job watch {id_}` follows it, `yard job cancel {id_}` cancels it")


class JobProgress:
    """Shows snapshots of a job.

    Args:
        session: The run.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._attempt = 0

    def __call__(self, snapshot: Snapshot[JobT]) -> None:
        """Shows one."""
        job = snapshot.job
        status = job.status
        if self._attempt and status.attempt > self._attempt:
            self._session.progress.say(f"its worker went away; attempt {status.attempt} goes on")
        self._attempt = status.attempt
        if status.state == job_pb2.JOB_STATE_QUEUED:
            place = f", place {status.queue_position} in the queue" if status.queue_position else ""
            self._session.progress.update(Step(f"waiting for a free slot{place}"))
        elif status.state in {job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_CANCELLING}:
            self._session.progress.update(running_step(job))


def running_step(job: AnyJob) -> Step:
    """How far a running job is."""
    status = job.status
    progress = status.progress
    what = progress.phase or enum_word(job_pb2.JobState.Name(status.state), "JOB_STATE_")
    if isinstance(job, training_job_pb2.TrainingJob) and job.training_progress.epochs:
        training = job.training_progress
        running = min(training.epoch + 1, training.epochs)
        shown = (item for item in sorted(training.metrics.items()) if _SHOWN_METRIC.fullmatch(item[0]))
        detail = ", ".join([*(f"{key.split('/')[-1]} {value:.3g}" for key, value in shown), *_still(training)])
        return Step(
            f"{what}, epoch {running}/{training.epochs}",
            training.step or progress.done,
            training.steps or progress.total,
            "batches",
            detail,
        )
    return Step(what, progress.done, progress.total, progress.unit)


def _still(training: training_job_pb2.TrainingProgress) -> list[str]:
    """How long a training has still to go, for people; nothing where that is not known."""
    if not training.HasField("expected_end_time"):
        return []
    left = training.expected_end_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    return [f"{duration_text(max(left.total_seconds(), 0.0))} to go"]


async def begin_with_uploads(
    session: Session,
    service: Service,
    sources: Sequence[Source],
    pending: Pending,
    create: Callable[[list[str], str], Awaitable[JobT]],
    get: Callable[[str], Awaitable[JobT]],
) -> JobT:
    """Uploads what a job needs and creates the job, or finds the one that an earlier, killed run of the same command made.

    Args:
        session: The run.
        service: Who takes the uploads.
        sources: What to upload.
        pending: The command's request.
        create: Creates the job from the uploads' names and a request_id.
        get: Reads the job.
    """
    if (job := await _begun(session, pending, get)) is not None:
        return job

    async def upload(position: int) -> str:
        source, request_id = sources[position], _request_of(pending.request_id, position)
        made = await session.client.uploads.upload(service, source, request_id=request_id, on_progress=transfer(session, source.name))
        pending.note(**{_fact(position): made.name})
        return made.name

    known = [pending.facts.get(_fact(position), "") for position in range(len(sources))]
    names = [name or await upload(position) for position, name in enumerate(known)]
    try:
        job = await create(names, pending.request_id)
    except ClientError as error:
        if not (any(known) and error.reason in _UPLOAD_GONE) and not new_request(error):
            if error.code not in _MAY_BE_QUEUED:  # refused, so nobody will ever need them
                for name in names:
                    await session.client.uploads.delete(service, name)
            raise
        pending.renew()
        job = await create([await upload(position) for position in range(len(sources))], pending.request_id)
    pending.note(job=job.name)
    return job


def _fact(position: int) -> str:
    return f"upload{position or ''}"


def _request_of(request_id: str, position: int) -> str:
    """Each upload is a request of its own, the first that of the command."""
    return str(uuid.uuid5(uuid.UUID(request_id), str(position))) if position else request_id


async def begin(
    session: Session, pending: Pending, create: Callable[[str], Awaitable[JobT]], get: Callable[[str], Awaitable[JobT]]
) -> JobT:
    """Creates a job, or finds the one that an earlier, killed run of the same command made; arguments as for :func:`begin_with_uploads`."""
    if (job := await _begun(session, pending, get)) is not None:
        return job
    try:
        job = await create(pending.request_id)
    except ClientError as error:
        if not new_request(error):
            raise
        pending.renew()
        job = await create(pending.request_id)
    pending.note(job=job.name)
    return job


async def _begun(session: Session, pending: Pending, get: Callable[[str], Awaitable[JobT]]) -> JobT | None:
    """The job that an earlier run of the same command made and did not see the end of; None where there is none, or it was cancelled."""
    if "job" not in pending.facts:
        return None
    try:
        job = await get(pending.facts["job"])
    except ClientError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        pending.renew()
        return None
    id_ = job.name.split("/")[-1]
    if job.status.state == job_pb2.JOB_STATE_CANCELLED:
        session.progress.say(f"job {id_} of an earlier run of this command was cancelled; a new one begins")
        pending.renew()
        return None
    ended = job.status.state in {job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED}
    also = " and has ended; this is what came of it. The next such command begins anew" if ended else ""
    session.progress.say(f"job {id_} was begun by an earlier run of this command{also}")
    return job


def transfer(session: Session, name: str) -> Callable[[str, int, int], None]:
    """Shows the progress of a transfer of a file or folder."""
    return lambda what, done, total: session.progress.bytes(f"{what} {name}", done, total)
