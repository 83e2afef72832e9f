"""When a worker's lease has run out: by the store's clock, and only after it was watched for a while."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from visionyard.kit.jobs.model import Job, heartbeat_key, job_key
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.objectstore.port import NotFound

_START = timedelta(seconds=60)
"""How long a child may take to its first beat; on a crowded machine an interpreter starts slowly, and a child that dies over it is noticed anyway."""


@dataclass
class _Seen:
    """A running job's heartbeat as it was seen last.

    Attributes:
        etag: The heartbeat's, or the document's where there is none yet.
        since: When it was first seen so, on this process's monotonic clock; starts anew after the store was away.
    """

    etag: str
    since: float


class Expiry:
    """Watches the heartbeats of running jobs.

    Args:
        records: The jobs.
        lease: A worker that has not beaten for so long is dead.
        observe_s: For how many seconds it must have been seen not to beat, so that an outage of the store expires nobody.
    """

    def __init__(self, records: JobRecords, lease: timedelta, observe_s: float) -> None:
        self._records = records
        self._lease = lease
        self._observe_s = observe_s
        self._seen: dict[str, _Seen] = {}

    def keep(self, running: Iterable[Job]) -> None:
        """Forgets all but these."""
        known = {str(job.name) for job in running}
        self._seen = {name: seen for name, seen in self._seen.items() if name in known}

    def clear(self) -> None:
        """Forgets all: whoever could not beat while the store was away gets time to do so."""
        self._seen.clear()

    def expired(self, job: Job, *, own: bool) -> bool:
        """Whether a job's lease has run out. Blocks.

        Args:
            job: The job, running or about to be cancelled.
            own: Whether its worker is a child of this process, whose death would be noticed without a lease.
        """
        lease = self._lease
        try:
            beat = self._records.store.head(heartbeat_key(job.name, job.attempt))
            etag, age = beat.etag + beat.last_modified.isoformat(), beat.now - beat.last_modified
        except NotFound:
            document = self._records.store.head(job_key(job.name))
            etag, age = f"{job.etag}/{job.attempt}", document.now - document.last_modified
            lease = max(lease, _START) if own else lease
        seen = self._seen.get(str(job.name))
        if seen is None or seen.etag != etag:
            self._seen[str(job.name)] = _Seen(etag, time.monotonic())
            return False
        return age > lease and time.monotonic() - seen.since >= self._observe_s
