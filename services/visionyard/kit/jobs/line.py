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
_FRESH_TWICE_AS_LONG_WITH, _MOST_FRESH_S = 600, 10.0
"""It is used longer where many wait: a store takes longer to list more, and others' claims wait behind that (docs/performance.md)."""


class Line:
    """Who waits, as listed a moment ago. A marker may be gone meanwhile: whoever takes one looks first, and only one swap wins.

    Args:
        records: The jobs.
        fresh_s: How long a short listing is used, in seconds; a long one is used longer.
    """

    def __init__(self, records: JobRecords, fresh_s: float = _FRESH_S) -> None:
        self._records = records
        self._fresh_s = fresh_s
        self._waiting: set[Marker] = set()
        self._left: set[Marker] = set()
        self._listed_at: float | None = None
        self._lock = threading.Lock()
        """Guards ``_listed_at``: what makes a list old while another is being made must not be lost."""
        self._listing: threading.Thread | None = None

    def is_old(self) -> None:
        """Has the next look list anew, and wait for it; from any thread."""
        with self._lock:
            self._listed_at = None

    def leave(self, marker: Marker) -> None:
        """Takes one out that waits there no more. Where the next listing has it still, it may be left over, and is cleared."""
        self._waiting.discard(marker)
        self._left.add(marker)

    def order(self, running: Mapping[str, int]) -> Iterator[Marker]:
        """See :func:`.queue.fair_order`. Blocks where it must list anew; where time alone has passed it does so beside, for the next look."""
        listed_at, now = self._listed_at, time.monotonic()
        if listed_at is None or not self._waiting:
            self._listed_at = now  # before it is listed: what comes meanwhile makes it old again
            try:
                self._waiting = self._listed()
            except StoreUnavailable:
                self.is_old()
                raise
        elif now - listed_at >= self._fresh() and (self._listing is None or not self._listing.is_alive()):
            self._listing = threading.Thread(target=self._list, args=(listed_at,), name="queue", daemon=True)
            self._listing.start()
        return fair_order(self._waiting, running)

    def _fresh(self) -> float:
        return min(self._fresh_s * (1 + len(self._waiting) / _FRESH_TWICE_AS_LONG_WITH), max(self._fresh_s, _MOST_FRESH_S))

    def _listed(self) -> set[Marker]:
        """The waiting jobs' markers. Of those that had left, and are most likely gone, nobody cleared what is left over; that is done here."""
        left, self._left = self._left, set()
        waiting = set(self._records.markers(Place.WAITING))
        for marker in left & waiting:
            job = self._records.at(marker)
            if job is None or job.marker != marker:
                waiting.discard(marker)
        return waiting

    def _list(self, before: float) -> None:
        """Lists anew beside a look; of no effect where it has become old meanwhile."""
        now = time.monotonic()
        try:
            waiting = self._listed()
        except StoreUnavailable:
            self.is_old()  # the next look hears of it
            return
        with self._lock:
            if self._listed_at == before:
                self._listed_at, self._waiting = now, waiting
