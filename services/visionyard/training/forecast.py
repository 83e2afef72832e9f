"""When the trainings that wait are expected to begin: by what the running ones have still to go, and by the estimates of those that come before them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from visionyard.kit.jobs.model import Job, JobState, ProgressSnapshot
from visionyard.kit.jobs.queue import Place, fair_order
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.ahead import read_ahead

_FRESH_S = 2.0
_MOST_READ = 100
"""So many of the waiting jobs are looked at, in the order in which they get slots: each is a document to be read."""


class Forecast:
    """Looks at the queue, at most every few seconds. Safe for threads; calls block.

    Args:
        records: The jobs, of all projects.
        progress: How far a running job is.
        slots: How many slots this machine has.
        width: Tells, by a job's spec, how many of them it takes; the dispatcher's own.
        node: What this machine is called in leases.
    """

    def __init__(
        self,
        records: JobRecords,
        progress: Callable[[Job], ProgressSnapshot],
        slots: int,
        width: Callable[[Mapping[str, Any]], int],
        node: str,
    ) -> None:
        self._records = records
        self._progress = progress
        self._slots = slots
        self._width = width
        self._node = node
        self._lock = threading.Lock()
        self._read_at = -_FRESH_S
        self._starts: dict[ResourceName, datetime] = {}

    def starts(self) -> dict[ResourceName, datetime]:
        """When each waiting job is expected to get its slots; those behind one of which nothing is expected are left out."""
        with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_S:
                self._starts = self._read()
                self._read_at = time.monotonic()
            return self._starts

    def _read(self) -> dict[ResourceName, datetime]:
        now = datetime.now(UTC)
        running = list(self._records.running())
        machines: dict[str, list[datetime | None]] = {self._node: []}
        for job in running:
            end = _end(job, self._progress(job), now)
            machines.setdefault(job.node, []).extend([end] * max(1, len(job.slots)))
        own = machines[self._node]
        own += [now] * (self._slots - len(own))  # of other machines only those slots are known that somebody holds
        order = fair_order(self._records.markers(Place.WAITING), Counter(job.name.project for job in running))
        found = (job for job in read_ahead(self._records.at, islice(order, _MOST_READ)) if job is not None)
        waiting = ((job.name, _seconds(job), self._width(job.spec)) for job in found if job.state is JobState.QUEUED and not job.held)
        return starts(now, list(machines.values()), waiting)


def starts(
    now: datetime, machines: Sequence[Sequence[datetime | None]], waiting: Iterable[tuple[ResourceName, float | None, int]]
) -> dict[ResourceName, datetime]:
    """Gives slots to waiting jobs in their order, each as soon as a machine has as many as it takes; free ones are kept for it until then.

    Args:
        now: The present.
        machines: When each slot of each machine is expected to be free; None where that is not known.
        waiting: The waiting ones in their order, with what each is expected to take, in seconds, None where that is not known, and how many slots it takes.
            One that takes more than any machine has is left to others.
    """
    # A job of which nothing is known keeps its slots for ever, as far as can be told.
    never = datetime.max.replace(tzinfo=UTC)
    pools = [sorted(max(end, now) if end is not None else never for end in ends) for ends in machines]
    found = {}
    for name, seconds, width in waiting:
        wide_enough = [pool for pool in pools if len(pool) >= width]
        if not wide_enough:
            continue
        pool = min(wide_enough, key=lambda pool: pool[width - 1])
        begins = pool[width - 1]
        if begins == never:
            break
        found[name] = begins
        pool[:width] = [begins + timedelta(seconds=seconds) if seconds is not None else never] * width
        pool.sort()
    return found


def _end(job: Job, snapshot: ProgressSnapshot, now: datetime) -> datetime | None:
    text = snapshot.detail.get("expected_end_time") if snapshot.sequence else ""
    if text:
        return datetime.fromisoformat(text)
    seconds = _seconds(job)
    # One that an earlier attempt had begun has less to go than the whole, but by how much is not known until it trains.
    return max((job.start_time or now) + timedelta(seconds=seconds), now) if seconds is not None else None


def _seconds(job: Job) -> float | None:
    seconds = (job.pointers.get("estimate") or {}).get("seconds")
    return float(seconds) if seconds is not None else None
