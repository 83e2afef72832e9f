"""What happened to a training job or a search, told by how its document changes, and whether an announced event has really come to pass."""

from __future__ import annotations

import enum
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.names import ResourceName

_BEST = "weights/best.pt"
"""The entry of ``pointers["checkpoint"]["files"]`` that changes with every better epoch."""


class Event(enum.Enum):
    """What a channel may be told of; the names are those of ``visionyard.training.v1.NotificationEvent``."""

    QUEUED = "queued"
    STARTED = "started"
    IMPROVED = "improved"
    FINISHED = "finished"
    FAILED = "failed"
    PREEMPTED = "preempted"


class Verdict(enum.Enum):
    """What the job's document says of an announced event."""

    HAPPENED = enum.auto()
    OPEN = enum.auto()
    """Not yet: the change may still come, or its writer has died."""
    NEVER = enum.auto()


@dataclass(frozen=True)
class JobEvent:
    """An event.

    Attributes:
        event: What happened.
        job: To which job.
        number: Tells it from others of its kind: the epoch of an improvement, else the attempt.
        host: The machine that the job runs on, or of whoever made the change.
        revision: The revision that the job's document was to get, for the order of one job's events: the store's clock has whole seconds.
    """

    event: Event
    job: ResourceName
    number: int
    host: str
    revision: int = 0

    @property
    def id(self) -> str:
        """The same for the same event, however often it is announced."""
        return f"{self.job.id}.{self.event.value}.{self.number}"

    def to_json(self) -> dict[str, Any]:
        """The form in which the outbox keeps it."""
        return {"event": self.event.value, "job": str(self.job), "number": self.number, "host": self.host, "revision": self.revision}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> JobEvent:
        """Reads what :meth:`to_json` wrote."""
        kind = JobKind.TUNING if f"/{JobKind.TUNING.collection}/" in body["job"] else JobKind.TRAINING
        job = ResourceName.parse(body["job"], kind.collection)
        return cls(Event(body["event"]), job, int(body["number"]), str(body["host"]), int(body["revision"]))


def events_between(before: Job | None, after: Job) -> list[JobEvent]:
    """What a change of a job's document means; mostly nothing.

    Args:
        before: The job as it was; None where it did not exist.
        after: The job as it becomes.
    """
    found = []
    if (event := _of_state(before, after)) is not None:
        found.append(_event(event, before, after, after.attempt))
    epoch = stored_epoch(after)
    # At the end best.pt is replaced by its own copy without the optimizer, which is no better.
    if before is not None and epoch > stored_epoch(before) and _best(after) and _best(after) != _best(before):
        found.append(_event(Event.IMPROVED, before, after, epoch))
    return found


def end_of(job: Job) -> JobEvent | None:
    """The event of a job's end as its document has it; None while it goes on, or where it was cancelled."""
    ends = {JobState.SUCCEEDED: Event.FINISHED, JobState.FAILED: Event.FAILED}
    return _event(ends[job.state], None, job, job.attempt) if job.state in ends else None


def stored_epoch(job: Job) -> int:
    """How many epochs the checkpoint that the job points at has; 0 without one."""
    return int((job.pointers.get("checkpoint") or {}).get("epoch", 0))


def judge(event: JobEvent, job: Job | None) -> Verdict:
    """Whether an event that was announced before its change has happened, by the job's document.

    A change that was announced and then lost (its writer died, or somebody else was faster) is not told. Where later changes hide whether it was made, an
    attempt that has been taken over counts as started and as given back; an end that was left again (a job that is resumed) is confirmed by who leaves it.

    Args:
        event: The event.
        job: The job as it is now; None where there is none.
    """
    if job is None:
        return Verdict.OPEN
    match event.event:
        case Event.QUEUED:
            happened = event.number == 0 or job.attempt > event.number or not job.state.finished
            never = False
        case Event.STARTED:
            happened, never = job.attempt >= event.number, False
        case Event.PREEMPTED:
            happened = job.attempt > event.number or (job.attempt == event.number and job.state is JobState.QUEUED)
            never = job.state in {JobState.SUCCEEDED, JobState.FAILED}
        case Event.IMPROVED:
            happened, never = stored_epoch(job) >= event.number or "files" in job.pointers, job.state.finished
        case Event.FINISHED | Event.FAILED:
            wanted = JobState.SUCCEEDED if event.event is Event.FINISHED else JobState.FAILED
            happened = job.attempt == event.number and job.state is wanted
            never = job.attempt > event.number or job.state.finished
    if happened:
        return Verdict.HAPPENED
    return Verdict.NEVER if never else Verdict.OPEN


def _of_state(before: Job | None, after: Job) -> Event | None:
    old = before.state if before is not None else None
    if after.state is old and (before is None or after.attempt == before.attempt):
        return None
    match after.state:
        case JobState.QUEUED if before is None or before.state.finished:
            found: Event | None = Event.QUEUED
        case JobState.QUEUED if after.crashes == 0:
            found = Event.PREEMPTED
        case JobState.RUNNING if old is JobState.QUEUED and after.crashes == 0:
            found = Event.STARTED  # taking up what a dead worker left is no news
        case JobState.SUCCEEDED:
            found = Event.FINISHED
        case JobState.FAILED:
            found = Event.FAILED
        case _:
            found = None
    return found


def _event(event: Event, before: Job | None, after: Job, number: int) -> JobEvent:
    node = after.node or (before.node if before is not None else "")
    return JobEvent(event, after.name, number, node.partition(":")[0] or socket.gethostname(), after.revision)


def _best(job: Job) -> str:
    files = (job.pointers.get("checkpoint") or {}).get("files") or {}
    return str((files.get(_BEST) or {}).get("sha256", ""))
