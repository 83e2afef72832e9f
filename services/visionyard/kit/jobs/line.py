"""The waiting jobs in the order in which they get slots, without listing a thousand of them for each claim."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from visionyard.kit.jobs.queue import Marker, Place, fair_order
from visionyard.kit.jobs.records import JobRecords

_FRESH_S = 3.0
"""How long a listing is used: what other services queue is seen so much later, what this one queues at once."""


class Line:
    """Who waits, as listed a moment ago. A marker may be gone meanwhile: whoever takes one looks first, and only one swap wins.

    Args:
        records: The jobs.
        fresh_s: How long a listing is used, in seconds.
    """

    def __init__(self, records: JobRecords, fresh_s: float = _FRESH_S) -> None:
        self._records = records
        self._fresh_s = fresh_s
        self._waiting: set[Marker] = set()
        self._listed_at: float | None = None

    def is_old(self) -> None:
        """Has the next look list anew; from any thread."""
        self._listed_at = None

    def leave(self, marker: Marker) -> None:
        """Takes one out that waits there no more."""
        self._waiting.discard(marker)

    def order(self, running: Mapping[str, int]) -> Iterator[Marker]:
        """See :func:`.queue.fair_order`. Blocks where it lists anew."""
        listed_at, now = self._listed_at, time.monotonic()
        if listed_at is None or not self._waiting or now - listed_at >= self._fresh_s:
            self._listed_at = now  # before it is listed: what comes meanwhile makes it old again
            self._waiting = set(self._records.markers(Place.WAITING))
        return fair_order(self._waiting, running)
