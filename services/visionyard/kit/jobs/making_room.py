"""Which running jobs make room for waiting ones of a higher priority."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from visionyard.kit.jobs.model import Job, JobState
from visionyard.kit.jobs.queue import Marker, fair_order

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
