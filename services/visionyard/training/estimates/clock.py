"""Times a training by its own events: what an epoch takes, and how long it has still to go."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from visionyard.training.estimates.estimator import Expectation

_FEWEST_BATCHES = 6
"""Of an epoch whose second half tells a pace."""
_DRAWN_BATCHES = 3
"""Of a validation that draws: so many are drawn, the first (``BaseValidator.__call__`` of Ultralytics)."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch took, in seconds.

    Attributes:
        train_s: Training.
        val_s: Validating; 0 where it was not.
        save_s: The rest.
        drawing_s: Drawing plots of the validation, where it was told how long that computed.
        settled_s: What training would have taken at the pace of its second half; None where that cannot be told.
    """

    train_s: float
    val_s: float
    save_s: float
    drawing_s: float = 0.0
    settled_s: float | None = None

    @property
    def seconds(self) -> float:
        """All together."""
        return self.train_s + self.val_s + self.save_s + self.drawing_s


@dataclass(frozen=True)
class Times:
    """What a run took, in seconds; as :class:`.measurement.Measurement` has it."""

    epochs: int
    start_up_s: float
    fetch_s: float
    first_extra_s: float
    train_s: float
    val_s: float
    save_s: float


class RunClock:
    """Told of a run's events in the order in which they come.

    Args:
        began: When the run began, by ``clock``.
        clock: Seconds; a test gives its own.
    """

    def __init__(self, began: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = began
        self._fetch_s = 0.0
        self._first_batch: float | None = None
        self._epoch_began: float | None = None
        self._batches, self._batches_ended, self._filled = 0, 0, 0.0
        self._half_way = 0.0
        self._trained: float | None = None
        self._settled_s: float | None = None
        self._val_began: float | None = None
        self._val_s = self._drawing_s = 0.0
        self._val_batches: list[float] = []
        self._val_waiting_s = self._val_since = 0.0
        self._epochs: list[Epoch] = []
        self._last_end: float | None = None

    def fetched(self, seconds: float) -> None:
        """The dataset is there."""
        self._fetch_s = seconds

    def epoch_begins(self, batches: int, filled: float) -> None:
        """An epoch begins, perhaps anew, where its batch was halved.

        Args:
            batches: Of how many batches.
            filled: How many its images fill; less where the last is not full.
        """
        self._epoch_began, self._batches_ended = self._clock(), 0
        self._batches, self._filled = batches, filled if batches - 1 < filled < batches else float(batches)
        self._trained, self._val_began, self._val_s, self._drawing_s = None, None, 0.0, 0.0

    def batch_begins(self) -> None:
        """A batch is computed."""
        if self._first_batch is None:
            self._first_batch = self._clock()
            self._epoch_began = self._first_batch  # what came before it, its loaders' start too, is start-up

    def batch_ends(self) -> None:
        """A batch is done; the next one is loaded."""
        self._batches_ended += 1
        if self._batches_ended == self._batches // 2:
            self._half_way = self._clock()

    def trained(self) -> None:
        """The epoch's batches are done."""
        self._trained = self._clock()
        tells = self._is_whole and self._batches >= _FEWEST_BATCHES
        self._settled_s = (self._trained - self._half_way) * self._filled / (self._filled - self._batches // 2) if tells else None

    @property
    def _is_whole(self) -> bool:
        return self._batches_ended >= self._batches

    def validation_begins(self) -> None:
        """A validation begins."""
        self._val_began = self._val_since = self._clock()
        self._val_waiting_s, self._val_batches = 0.0, []

    def validation_batch_begins(self) -> None:
        """A validation's batch is loaded."""
        now = self._clock()
        self._val_waiting_s += now - self._val_since
        self._val_since = now

    def validation_batch_ends(self) -> None:
        """A validation's batch is done."""
        now = self._clock()
        self._val_batches.append(now - self._val_since)
        self._val_since = now

    def validation_ends(self, computed_s: float | None = None) -> None:
        """A validation ends.

        Args:
            computed_s: Where it drew plots besides, what its batches were computed in: only a training's last validation draws, and from one that did
                nobody could tell what those of a longer training take. None where it did not.
        """
        if self._val_began is None:
            return
        whole, self._val_began = self._clock() - self._val_began, None
        self._val_s = whole if computed_s is None else min(self._undrawn_s(computed_s), whole)
        self._drawing_s = whole - self._val_s

    def _undrawn_s(self, computed_s: float) -> float:
        """What a validation takes without its drawing: loading, the batches that are not drawn, and of those that are the computing alone."""
        drawn = min(len(self._val_batches), _DRAWN_BATCHES)
        computed = computed_s * drawn / len(self._val_batches) if drawn else 0.0
        return self._val_waiting_s + computed + sum(self._val_batches[_DRAWN_BATCHES:])

    def epoch_ends(self) -> None:
        """An epoch ends; of no effect where none has begun, as after the last. One whose batches were broken off, as hours do it, is not counted."""
        if self._epoch_began is None or self._trained is None:
            return
        now = self._clock()
        train = self._trained - self._epoch_began
        validation = self._val_s + self._drawing_s
        save = max(now - self._trained - validation, 0.0)
        if self._is_whole:
            self._epochs.append(Epoch(train, self._val_s, save, self._drawing_s, self._settled_s))
        self._last_end, self._epoch_began, self._trained = now, None, None

    @property
    def since_began_s(self) -> float:
        """How long ago the run began."""
        return self._clock() - self._began

    @property
    def in_epoch_s(self) -> float:
        """How long the epoch has been under way; 0 between epochs."""
        return self._clock() - self._epoch_began if self._epoch_began is not None else 0.0

    @property
    def epoch_s(self) -> float | None:
        """What an epoch takes; None before the first has ended."""
        usual = self._epochs[1:] or self._epochs
        return statistics.fmean(epoch.seconds for epoch in usual) if usual else None

    @property
    def validation_s(self) -> float:
        """What a validation between epochs takes; 0 where none was."""
        return statistics.fmean(found) if (found := [epoch.val_s for epoch in self._epochs if epoch.val_s]) else 0.0

    @property
    def end_s(self) -> float:
        """How long ago the last epoch ended; 0 where none has."""
        return self._clock() - self._last_end if self._last_end is not None else 0.0

    def times(self) -> Times | None:
        """What the run took; None where it has ended no epoch."""
        if not self._epochs or self._first_batch is None:
            return None
        first, usual = self._epochs[0], self._epochs[1:] or self._epochs
        train = statistics.fmean(epoch.train_s for epoch in usual)
        if len(self._epochs) == 1 and first.settled_s is not None:
            train = min(first.settled_s, train)
        return Times(
            epochs=len(self._epochs),
            start_up_s=max(self._first_batch - self._began - self._fetch_s, 0.0),
            fetch_s=self._fetch_s,
            first_extra_s=max(first.train_s - train, 0.0) + sum(epoch.drawing_s for epoch in self._epochs),
            train_s=train,
            val_s=self.validation_s,
            save_s=statistics.fmean(epoch.save_s for epoch in usual),
        )

    def remaining_s(self, done: int, epochs: int, step: int, steps: int, expected: Expectation | None, end_s: float) -> float:
        """How long a training has still to go while it is in its epochs.

        Args:
            done: Epochs that are done.
            epochs: Epochs in all.
            step: Steps done in the running epoch.
            steps: Steps of one epoch.
            expected: What was expected, which counts for as long as no epoch has ended; None for nothing.
            end_s: What the end's work is expected to take.
        """
        inside = self.in_epoch_s
        # The first one's own pace, by its batches; what comes behind them (validating, saving) is part of the expectation only.
        pace = inside / step * steps if step else inside
        epoch = self.epoch_s or max(expected.epoch_s if expected else 0.0, pace)
        running = self.epoch_s or max(expected.epoch_s + expected.first_extra_s if expected else 0.0, pace)
        left = max(running - inside, 0.0) if inside and done < epochs else 0.0
        return left + max(epochs - done - (1 if inside else 0), 0) * epoch + end_s
