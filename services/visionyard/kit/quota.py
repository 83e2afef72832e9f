"""How many bytes a project may hold, and how many it holds.

What a project holds is what a listing of its keys adds up to, and what its uploads under way have announced and not brought yet. A listing costs a request for each thousand
objects, so its sum is kept for a minute, and what was admitted here since is added to it. Another service's, or another replica's, admissions of that minute are not seen.
So a project can exceed its quota by what others bring in within a minute and no more; and before anything is refused the project is listed anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.transfer.announced import Announced

_FRESH_S = 60.0
_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000


@dataclass
class _Usage:
    """What a project holds, as far as is known here.

    Attributes:
        listed: What it held and was about to get when it was listed last, in bytes.
        at: When that was, on this process's monotonic clock.
        admitted: What was admitted since, in bytes.
    """

    listed: int
    at: float
    admitted: int = 0


class ProjectQuota:
    """Admits bytes into projects. All calls block; safe for threads.

    Args:
        store: The bucket.
        limit_bytes: The most that each project may hold; 0 for no limit.
        clock: A monotonic clock in seconds; tests give their own.
    """

    def __init__(self, store: ObjectStore, limit_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_bytes = limit_bytes
        self._store = store
        self._clock = clock
        self._usages: dict[str, _Usage] = {}
        self._lock = threading.Lock()

    def admit(self, project: str, more_bytes: int, passing_bytes: int = 0) -> None:
        """Takes note of bytes that are about to come.

        Args:
            project: Whose they will be.
            more_bytes: How many.
            passing_bytes: Bytes of the project that will go when these have come (the archive that is being imported), which therefore do not count.

        Raises:
            YardError: QUOTA_EXCEEDED, the project would hold too much.
            StoreUnavailable: the store does not answer.
        """
        if not self.limit_bytes:
            return
        with self._lock:
            usage = self._usages.get(project)
        if usage is None or self._clock() - usage.at > _FRESH_S or not self._fits(usage, more_bytes, passing_bytes):
            # Not under the lock: a listing may take long, and others need not wait for it.
            usage = _Usage(self._measure(project), self._clock())
            with self._lock:
                self._usages[project] = usage
        with self._lock:
            if not self._fits(usage, more_bytes, passing_bytes):
                raise self._exceeded(project, usage.listed + usage.admitted - passing_bytes, more_bytes)
            usage.admitted += more_bytes

    def _measure(self, project: str) -> int:
        total, announced = 0, Announced(self._store, project)
        for entry in self._store.list(f"projects/{project}/"):
            total += entry.size
            announced.see(entry)
        return total + announced.missing_bytes()

    def _fits(self, usage: _Usage, more_bytes: int, passing_bytes: int) -> bool:
        return usage.listed + usage.admitted - passing_bytes + more_bytes <= self.limit_bytes

    def _exceeded(self, project: str, used: int, wanted: int) -> YardError:
        return YardError(
            Reason.QUOTA_EXCEEDED,
            f"project {project!r} holds {_size(used)} of the {_size(self.limit_bytes)} that it may hold, and {_size(wanted)} more do not fit: delete datasets "
            "that are no longer needed (`yard dataset delete`) and run `yard storage collect`, or ask the administrator for more",
            {"project": f"projects/{project}", "used_bytes": str(used), "wanted_bytes": str(wanted), "limit_bytes": str(self.limit_bytes)},
        )


def _size(count: int) -> str:
    """Bytes in decimal units, as quotas are given: ``1.5 GB``."""
    value = float(count)
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    raise AssertionError
