"""The waiting jobs in the order in which they get slots, without listing a thousand of them for each claim."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

from visionyard.kit.jobs.queue import Marker, Place, fair_order
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.objectstore.port import StoreUnavailable

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
        self._listing: threading.Thread | None = None

    def is_old(self) -> None:
        """Has the next look list anew, and wait for it; from any thread."""
        self._listed_at = None

    def leave(self, marker: Marker) -> None:
        """Takes one out that waits there no more."""
        self._waiting.discard(marker)

    def order(self, running: Mapping[str, int]) -> Iterator[Marker]:
        """See :func:`.queue.fair_order`. Blocks where it must list anew; where time alone has passed it does so beside, for the next look."""
        listed_at, now = self._listed_at, time.monotonic()
        if listed_at is None or not self._waiting:
            self._listed_at = now  # before it is listed: what comes meanwhile makes it old again
            self._waiting = set(self._records.markers(Place.WAITING))
        elif now - listed_at >= self._fresh_s and (self._listing is None or not self._listing.is_alive()):
            self._listing = threading.Thread(target=self._list, args=(listed_at,), name="queue", daemon=True)
            self._listing.start()
        return fair_order(self._waiting, running)

    def _list(self, before: float) -> None:
        """Lists anew beside a look; of no effect where it has become old meanwhile."""
        now = time.monotonic()
        try:
            waiting = set(self._records.markers(Place.WAITING))
        except StoreUnavailable:
            self._listed_at = None  # the next look hears of it
            return
        if self._listed_at == before:
            self._listed_at, self._waiting = now, waiting
