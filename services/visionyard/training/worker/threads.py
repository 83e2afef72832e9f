"""How many threads torch computes with on a CPU, by trial.

Ultralytics leaves one core out, which is half of two; but all cores are the better choice only while nobody else needs them: OpenMP's threads wait for
each other at every layer, and on 2 cores with a third busy process two threads were measured up to five times slower than one (565 ms against 106 ms a step,
yolov8n at 64 pixels), on quiet ones up to 1.7 times faster (613 ms against 1029 ms, at 320 pixels). So now and then both are timed on a few batches.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

_BATCHES_EACH = 3
_CLEARLY_SLOWER = 1.5
_TRIAL_EVERY_S, _TRIAL_AT_LEAST_EVERY_S = 60.0, 600.0


class ThreadTrial:
    """Chooses between all usable cores and one less.

    Args:
        cores: How many cores may be used.
        set_threads: Sets the number of threads (``torch.set_num_threads``).
        clock: Seconds; a test gives its own.
    """

    def __init__(self, cores: int, set_threads: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._candidates = sorted({max(1, cores - 1), cores})
        self._set_threads = set_threads
        self._clock = clock
        self._times: dict[int, list[float]] = {}
        self._threads = self._candidates[-1]
        self._choice = self._threads
        self._interval_s = _TRIAL_EVERY_S
        self._began = 0.0
        self._next_trial = clock()
        set_threads(self._threads)

    def batch_begins(self) -> None:
        """Call it before a batch is computed."""
        if len(self._candidates) > 1 and not self._times and self._clock() >= self._next_trial:
            self._times = {candidate: [] for candidate in self._candidates}
        if self._times:
            self._use(min(self._times, key=lambda candidate: len(self._times[candidate])))
        self._began = self._clock()

    def batch_ends(self) -> None:
        """Call it after a batch was computed."""
        if not self._times:
            return
        self._times[self._threads].append(self._clock() - self._began)
        if self._decided():
            best = min(self._times, key=lambda candidate: statistics.median(self._times[candidate]))
            # A choice that holds is questioned ever more rarely.
            self._interval_s = min(2 * self._interval_s, _TRIAL_AT_LEAST_EVERY_S) if best == self._choice else _TRIAL_EVERY_S
            self._choice, self._times = best, {}
            self._use(best)
            self._next_trial = self._clock() + self._interval_s

    def _decided(self) -> bool:
        """Whether the trial may end: after enough batches, or at once where one of the two is far slower."""
        if not all(self._times.values()):
            return False
        fastest = [min(times) for times in self._times.values()]
        return max(fastest) > _CLEARLY_SLOWER * min(fastest) or all(len(times) >= _BATCHES_EACH for times in self._times.values())

    def _use(self, threads: int) -> None:
        if threads != self._threads:
            self._threads = threads
            self._set_threads(threads)
