"""What a job is: its states, its document, its ids and where its objects lie."""

from __future__ import annotations

import enum
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from visionyard.kit.errors import YardError
from visionyard.kit.jobs.queue import Marker, Place
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.documents import Document

_BASE32 = "0123456789abcdefghijklmnopqrstuv"
_TIME_BITS = 45


def node_name(work_dir: Path) -> str:
    """What the dispatchers of a machine with this working directory are called in the leases of their jobs."""
    return f"{socket.gethostname()}:{work_dir}"


class JobState(enum.Enum):
    """Where a job stands; the names are those of ``visionyard.jobs.v1.JobState``."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def finished(self) -> bool:
        """Whether nothing changes any more."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class JobKind(enum.Enum):
    """The kinds of job; each has a collection in resource names and a queue of its own."""

    IMPORT = "import"
    TRAINING = "training"
    EXPORT = "export"
    EVALUATION = "evaluation"
    TUNING = "tuning"

    @property
    def collection(self) -> str:
        """The collection in resource names: ``importJobs``."""
        return f"{self.value}Jobs"


@dataclass(frozen=True)
class Job:
    """A job as its document tells it.

    Attributes:
        name: ``projects/{project}/{kind}Jobs/{id}``.
        kind: Which kind of work.
        spec: What to do: the room's own JSON document. Changes only where an ended job is resumed.
        state: Where it stands.
        attempt: How many workers have taken it up; the fencing token. 0 before the first.
        pointers: What its workers have reached (checkpoints, results): the room's own JSON document, moved only by the lease's owner.
        error: Why it failed.
        create_time: When it was created, by the store's clock.
        start_time: When the first worker took it up, by the store's clock.
        end_time: When it ended, by the store's clock.
        update_time: When its document last changed, by the store's clock.
        request_id: The ``x-request-id`` of the call that created it, for logs.
        node: Which machine holds the lease (empty while queued).
        slots: Which of that machine's slots it holds.
        crashes: How often in a row a worker died without having pointed at work that the next one is spared.
        priority: Jobs of a higher one get slots first; 0 for most.
        follows: The id of another job of the project and kind that must have succeeded before this one may have a slot; empty for none.
        held: Whether that one has not succeeded yet.
        turn: Counts its moves from one place of the queue to another; see :mod:`.queue`.
        resumptions: How often it was resumed after it had ended.
        yields_to: The resource name of the waiting job of a higher priority for which its worker has been asked to make room; empty for none.
        revision: Counts the document's changes.
        etag: The document's etag.
    """

    name: ResourceName
    kind: JobKind
    spec: dict[str, Any]
    state: JobState
    attempt: int
    create_time: datetime
    request_id: str
    pointers: dict[str, Any] = field(default_factory=dict)
    error: YardError | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    update_time: datetime | None = None
    node: str = ""
    slots: tuple[int, ...] = ()
    crashes: int = 0
    priority: int = 0
    follows: str = ""
    held: bool = False
    turn: int = 1
    resumptions: int = 0
    yields_to: str = ""
    revision: int = 0
    etag: str = ""

    @classmethod
    def from_document(cls, name: ResourceName, kind: JobKind, document: Document) -> Job:
        """Reads a job's document."""
        body = document.body
        return cls(
            name=name,
            kind=kind,
            spec=body["spec"],
            state=JobState(body["state"]),
            attempt=body["attempt"],
            create_time=datetime.fromisoformat(body["create_time"]),
            request_id=body["request_id"],
            pointers=body["pointers"],
            error=YardError.from_json(body["error"]) if body["error"] else None,
            start_time=_time(body["start_time"]),
            end_time=_time(body["end_time"]),
            update_time=document.last_modified,
            node=body["node"],
            slots=tuple(body["slots"]),
            crashes=body["crashes"],
            priority=body.get("priority", 0),
            follows=body.get("follows", ""),
            held=body.get("held", False),
            turn=body.get("turn", 1),
            resumptions=body.get("resumptions", 0),
            yields_to=body.get("yields_to", ""),
            revision=body["revision"],
            etag=document.etag,
        )

    def body(self) -> dict[str, Any]:
        """The document's JSON."""
        return {
            "spec": self.spec,
            "state": self.state.value,
            "attempt": self.attempt,
            "create_time": self.create_time.isoformat(),
            "request_id": self.request_id,
            "pointers": self.pointers,
            "error": self.error.to_json() if self.error else None,
            "start_time": self.start_time.isoformat() if self.start_time else None,
            "end_time": self.end_time.isoformat() if self.end_time else None,
            "node": self.node,
            "slots": list(self.slots),
            "crashes": self.crashes,
            "priority": self.priority,
            "follows": self.follows,
            "held": self.held,
            "turn": self.turn,
            "resumptions": self.resumptions,
            "yields_to": self.yields_to,
            "revision": self.revision,
        }

    @property
    def marker(self) -> Marker | None:
        """What tells where it stands in its queue; None where it has ended."""
        if self.state.finished:
            return None
        if self.state is not JobState.QUEUED:
            return Marker(Place.RUNNING, self.name, self.turn)
        if self.held:
            return Marker(Place.HELD, self.name, self.turn, waits_for=self.follows)
        return Marker(Place.WAITING, self.name, self.turn, self.priority)

    def changed(self, **changes: Any) -> Job:
        """A copy with other fields and the next revision; with another state it has no room to make any more."""
        if "state" in changes:
            changes.setdefault("yields_to", "")
        return replace(self, revision=self.revision + 1, **changes)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@dataclass(frozen=True)
class ProgressSnapshot:
    """How far a worker is.

    Attributes:
        sequence: Counts the snapshots of one attempt.
        phase: What it is doing.
        done: Done so far, in ``unit``.
        total: To be done in all, in ``unit``; 0 where unknown.
        unit: What ``done`` and ``total`` count.
        detail: The room's own JSON document.
    """

    sequence: int = 0
    phase: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


class _Moments:
    """Milliseconds since 1970, each given once: jobs that one process queues in the same one keep their order."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        with self._lock:
            self._last = max(time.time_ns() // 1_000_000, self._last + 1)
            return self._last


_moments = _Moments()


def new_job_id() -> str:
    """An id that sorts before all that this process has made before: 9 digits of reversed milliseconds in base 32 and 7 random ones."""
    reverse = (1 << _TIME_BITS) - 1 - _moments.next()
    digits = "".join(_BASE32[(reverse >> shift) & 31] for shift in range(_TIME_BITS - 5, -1, -5))
    return digits + "".join(secrets.choice(_BASE32) for _ in range(7))


def job_key(name: ResourceName) -> str:
    """Where the job's document lies."""
    return f"{name}.json"


def attempt_prefix(name: ResourceName, attempt: int) -> str:
    """Where everything that one attempt writes lies, with the trailing slash."""
    return f"{name}/attempts/{attempt}/"


def heartbeat_key(name: ResourceName, attempt: int) -> str:
    """Where the attempt's worker says that it is alive."""
    return f"{attempt_prefix(name, attempt)}heartbeat"


def progress_key(name: ResourceName, attempt: int) -> str:
    """Where the attempt's worker says how far it is."""
    return f"{attempt_prefix(name, attempt)}progress"
