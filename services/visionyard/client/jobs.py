"""Jobs of any kind: read, list, cancel, watch and wait. The rooms' own modules say which calls those are and how a job is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from visionyard.client.endpoints import Service
from visionyard.client.errors import ClientError, JobCancelled, job_failed, local
from visionyard.client.references import References
from visionyard.client.transport import Patience, Transport
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.errors import Code, Reason

_NAMED = 4
PAGE = 1000
"""The largest page that the services give."""
FINISHED = frozenset({job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED})
"""The states that a job does not leave."""


class AnyJob(Protocol):
    """What the three job messages share."""

    name: str

    @property
    def status(self) -> job_pb2.JobStatus:
        """Where it stands."""
        ...


JobT = TypeVar("JobT", bound=AnyJob)


@dataclass(frozen=True)
class Snapshot(Generic[JobT]):
    """A job at a moment.

    Attributes:
        job: The job.
        sequence: Grows with every change; ``watch(after_sequence=...)`` goes on behind it.
        response: The message as it came, ``WatchImportJobResponse`` and its like.
    """

    job: JobT
    sequence: int
    response: Message


@dataclass
class _Position:
    """How far a watch is; asked again at each reconnect."""

    sequence: int

    def __call__(self) -> int:
        return self.sequence


class AsyncJobs(ABC, Generic[JobT]):
    """The calls that every kind of job has.

    Args:
        transport: The channels.
        names: Names in the project.
    """

    service: ClassVar[Service]
    collection: ClassVar[str]

    def __init__(self, transport: Transport, names: References) -> None:
        self._transport = transport
        self._names = names

    @abstractmethod
    async def _get(self, name: str) -> JobT: ...

    @abstractmethod
    async def _page(self, token: str, where: str) -> tuple[list[JobT], str]: ...

    @abstractmethod
    async def _cancel(self, name: str) -> JobT: ...

    @abstractmethod
    def _watch(self, name: str, sequence: Callable[[], int], patience: Patience) -> AsyncIterator[Snapshot[JobT]]: ...

    async def get(self, job: str) -> JobT:
        """Reads a job.

        Args:
            job: Its id or resource name.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND).
        """
        return await self._get(self._names.resource(self.collection, job))

    async def list(self, where: str = "") -> list[JobT]:
        """All jobs of this kind, newest first.

        Args:
            where: Only those, as ``status.state = JOB_STATE_FAILED``: a filter of https://google.aip.dev/160 on the job's fields.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD), it is no filter.
        """
        jobs, token = await self._page("", where)
        while token:
            more, token = await self._page(token, where)
            jobs += more
        return jobs

    async def cancel(self, job: str) -> JobT:
        """Cancels a job: at once where it waits, else its worker stops soon. Doing so twice is no error.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND), FAILED_PRECONDITION (JOB_FINISHED).
        """
        return await self._cancel(self._names.resource(self.collection, job))

    async def watch(self, job: str, after_sequence: int = 0) -> AsyncIterator[Snapshot[JobT]]:
        """Snapshots of a job until it has ended, over broken connections and restarts of the service.

        Args:
            job: Its id or resource name.
            after_sequence: Only snapshots above this sequence; 0 for all from now on.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND).
        """
        name = self._names.resource(self.collection, job)
        position = _Position(after_sequence)
        patience = Patience(self._transport, self.service)
        while True:
            async for snapshot in self._watch(name, position, patience):
                position.sequence = max(position.sequence, snapshot.sequence)
                yield snapshot
                if snapshot.job.status.state in FINISHED:
                    return
            # The stream ended well before the job did: the service is going away, and another one goes on.
            state = (await self._get(name)).status.state
            if state in FINISHED:
                position.sequence = 0
            await patience.pause()

    async def wait(self, job: str, on_snapshot: Callable[[Snapshot[JobT]], None] | None = None) -> JobT:
        """Waits until a job has ended well.

        Args:
            job: Its id or resource name.
            on_snapshot: Called with every snapshot.

        Returns:
            The job as it ended.

        Raises:
            JobFailed: it failed; with the code and reason of its status.
            JobCancelled: it was cancelled.
            ClientError: NOT_FOUND (JOB_NOT_FOUND).
        """
        last: JobT | None = None
        async for snapshot in self.watch(job):
            last = snapshot.job
            if on_snapshot:
                on_snapshot(snapshot)
        if last is None:
            raise local(Reason.JOB_NOT_FOUND, f"the job {job!r} ended without a word; look at `yard job show`", {"name": job})
        return ended_well(last)


def ended_well(job: JobT) -> JobT:
    """Returns a job that succeeded.

    Raises:
        JobFailed: it failed.
        JobCancelled: it was cancelled.
    """
    if job.status.state == job_pb2.JOB_STATE_FAILED:
        raise job_failed(job.status.error)
    if job.status.state == job_pb2.JOB_STATE_CANCELLED:
        raise JobCancelled(Code.CANCELLED, Reason.CANCELLED.name, f"the job {job.name.split('/')[-1]} was cancelled", {"name": job.name})
    return job


def by_short_id(names: list[str], text: str) -> str:
    """The one resource name whose id begins or ends with ``text``.

    Raises:
        ClientError: NOT_FOUND (JOB_NOT_FOUND) for none, INVALID_ARGUMENT (INVALID_FIELD) for several.
    """
    found = [name for name in names if name.split("/")[-1] == text] or [
        name for name in names if name.split("/")[-1].startswith(text) or name.split("/")[-1].endswith(text)
    ]
    if not found:
        raise local(
            Reason.JOB_NOT_FOUND, f"there is no job whose id begins or ends with {text!r}; `yard job list` shows them", {"name": text}
        )
    if len(found) > 1:
        some = ", ".join(name.split("/")[-1] for name in found[:_NAMED])
        more = ", ..." if len(found) > _NAMED else ""
        raise local(Reason.INVALID_FIELD, f"{text!r} fits {len(found)} jobs ({some}{more}); give more of the id", {"field": "id"})
    return found[0]


def new_request(error: ClientError) -> bool:
    """Whether a create has to be made again with a request_id of its own, because the old one stands for something else."""
    return error.reason == Reason.REQUEST_ID_REUSED.name


async def all_pages(page: Callable[[str], Any], field: str) -> list[Any]:
    """The items of all pages.

    Args:
        page: Makes the call for a page token.
        field: The response's field that holds the items.
    """
    items: list[Any] = []
    token = ""
    while True:
        response = await page(token)
        items += getattr(response, field)
        token = response.next_page_token
        if not token:
            return items
