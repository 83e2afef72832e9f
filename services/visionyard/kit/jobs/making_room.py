"""Which running jobs make room for waiting ones of a higher priority."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from visionyard.kit.jobs.model import Job, JobState
from visionyard.kit.jobs.queue import Marker, fair_order
from visionyard.kit.jobs.records import JobRecords

_log = logging.getLogger(__name__)
_NEVER = datetime.min.replace(tzinfo=UTC)


def least_priority(own: Sequence[Job]) -> int | None:
    """The lowest priority of those that could make room; None where none could.

    Args:
        own: The running jobs of the machine.
    """
    return min((job.priority for job in own if _can(job)), default=None)


def who_makes_room(waiting: Sequence[Marker], running: Sequence[Job], own: Sequence[Job]) -> list[tuple[Job, Marker]]:
    """Pairs of a running job and the waiting one for which it is to make room.

    The most urgent of the waiting ones get the slots of the least urgent running ones; of those the one that began last, which has most likely done least. Jobs
    of equal priority never make room for each other, and one that somebody has been asked to make room for already asks nobody else.

    Args:
        waiting: The waiting jobs, in no order.
        running: The running jobs of all machines.
        own: Those among them that are the machine's own.
    """
    served = {job.yields_to for job in running}
    candidates = [job for job in own if _can(job)]
    pairs = []
    for marker in fair_order(waiting, Counter(job.name.project for job in running)):
        if str(marker.job) in served:
            continue
        lower = [job for job in candidates if job.priority < marker.priority]
        if not lower:
            break  # those behind are not more urgent
        chosen = max(lower, key=lambda job: (-job.priority, job.start_time or _NEVER))
        candidates.remove(chosen)
        pairs.append((chosen, marker))
    return pairs


def _can(job: Job) -> bool:
    return job.state is JobState.RUNNING and not job.yields_to


class RoomMaker:
    """Asks workers of a machine to give way to waiting jobs of a higher priority, for which no machine had a free slot.

    Args:
        records: The jobs of this kind.
        fits: Tells whether a job could run on this machine at all.
    """

    def __init__(self, records: JobRecords, fits: Callable[[Job], bool]) -> None:
        self._records = records
        self._fits = fits
        self._wait_since: dict[Marker, float] = {}
        self._misfits: set[Marker] = set()

    def ask(self, running: Sequence[Job], own: Sequence[Job], head: Marker | None, elsewhere_s: float) -> None:
        """Looks who waits, and asks. Blocks.

        Args:
            running: The running jobs of all machines.
            own: Those among them that are this machine's.
            head: The only one of the waiting jobs for which others are to make room, where the free slots are kept for it; they do so one after the other.
            elsewhere_s: How long a waiting job is left to other machines, which may have a free slot, in seconds.
        """
        least = least_priority(own)
        waiting = self._records.waiting_above(least) if least is not None else []
        now = time.monotonic()
        self._wait_since = {marker: self._wait_since.get(marker, now) for marker in waiting}
        self._misfits &= set(waiting)
        urgent = [marker for marker, since in self._wait_since.items() if now - since >= elsewhere_s and marker not in self._misfits]
        if head is not None:
            urgent = [marker for marker in urgent if marker == head]
        for job, marker in who_makes_room(urgent, running, own):
            there = self._records.at(marker)
            if there is not None and not self._fits(there):
                self._misfits.add(marker)
            elif there is not None and there.marker == marker:
                self._ask(job, there)

    def _ask(self, job: Job, waiting: Job) -> None:
        def change(current: Job, _: datetime) -> Job | None:
            if current.attempt != job.attempt or current.state is not JobState.RUNNING or current.yields_to:
                return None
            return current.changed(yields_to=str(waiting.name))

        self._records.update(job.name, change)
        _log.info("%s makes room for %s, which has a higher priority", job.name, waiting.name)
