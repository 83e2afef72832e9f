"""Where a training's time goes, added up over all of its attempts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

PHASES = ("start", "fetch", "data", "training", "validation", "saving")
"""``start``: imports, building the model. ``fetch``: bringing the dataset to this machine. ``data``: waiting for batches. ``training``: forward, backward and
optimizer. ``validation``: of each epoch, and of ``best.pt`` at the end. ``saving``: writing checkpoints, waiting for the bucket, plots, uploads."""


class Stopwatch:
    """Adds up the seconds of phases; one is always running. Belongs to one thread.

    Two readings of a clock a batch, and nothing that waits for a GPU: on one, where steps run behind the program, a step's time ends when its loss was read,
    which Ultralytics does after each.

    Args:
        clock: Seconds; a test gives its own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._phase = PHASES[0]
        self._since = clock()

    def enter(self, phase: str) -> None:
        """The phase that runs from now on."""
        now = self._clock()
        self._seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds what earlier attempts have measured."""
        for phase in PHASES:
            self._seconds[phase] += seconds.get(phase, 0.0)

    def seconds(self) -> dict[str, float]:
        """The seconds of each phase until now."""
        self.enter(self._phase)
        return dict(self._seconds)
