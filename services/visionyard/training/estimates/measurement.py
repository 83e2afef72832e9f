"""What one run of a training's worker took on its machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from visionyard.kit.errors import invalid_field
from visionyard.training.estimates.effort import Effort
from visionyard.training.estimates.reading import of_document

_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST_S = 10 * 366 * 86_400.0
_MOST_EPOCHS = 100_000
_SECONDS = ("start_up_s", "fetch_s", "first_extra_s", "train_s", "val_s", "save_s")
_OPTIONAL_SECONDS = ("end_s", "expected_s", "taken_s")


@dataclass(frozen=True)
class Measurement:
    """A run, in seconds.

    Attributes:
        id: Tells it from others, 32 hexadecimal digits; made of the job's name, which it hides.
        time: When it was made.
        effort: What was trained.
        epochs: Epochs that it trained.
        start_up_s: From the worker's start to the first batch, without ``fetch_s``.
        fetch_s: Bringing the dataset to the machine; next to nothing where it was there.
        first_extra_s: By how much the first epoch's training took longer than that of the others, and what a validation between epochs drew.
        train_s: Training for an epoch.
        val_s: One validation; 0 where there was none between epochs.
        save_s: The rest of an epoch.
        end_s: From the last epoch to the model version; None where it did not come so far.
        expected_s: What had been expected of the whole training; None where nothing was, or where it did not run through as asked for.
        taken_s: What that took; None likewise.
    """

    id: str
    time: datetime
    effort: Effort
    epochs: int
    start_up_s: float
    fetch_s: float
    first_extra_s: float
    train_s: float
    val_s: float
    save_s: float
    end_s: float | None = None
    expected_s: float | None = None
    taken_s: float | None = None

    def check(self, field: str) -> Measurement:
        """Returns itself, for one that a stranger describes.

        Args:
            field: What to call it in errors.

        Raises:
            YardError: INVALID_FIELD.
        """
        if not _ID.fullmatch(self.id):
            raise invalid_field(f"{field}.id", "takes 32 hexadecimal digits")
        if not 1 <= self.epochs <= _MOST_EPOCHS:
            raise invalid_field(f"{field}.epochs", f"takes 1 to {_MOST_EPOCHS}, not {self.epochs}")
        self.effort.check(f"{field}.effort")
        for name in (*_SECONDS, *_OPTIONAL_SECONDS):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _LONGEST_S:
                raise invalid_field(f"{field}.{name.removesuffix('_s')}", f"takes a duration of 0 to {_LONGEST_S:.0f} s, not {value}")
        if (self.expected_s is None) != (self.taken_s is None):
            raise invalid_field(f"{field}.taken", "goes with `expected`")
        return self

    @property
    def error_ratio(self) -> float | None:
        """How wrong the estimate before it was, ``|expected / taken - 1|``; None where there was none."""
        return abs(self.expected_s / self.taken_s - 1) if self.expected_s is not None and self.taken_s else None

    def to_json(self) -> dict[str, Any]:
        """The form in which documents keep it."""
        return {**vars(self), "time": self.time.isoformat(), "effort": self.effort.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Measurement:
        """Reads what :meth:`to_json` wrote."""
        known = {**document, "time": datetime.fromisoformat(document["time"]), "effort": Effort.from_json(document["effort"])}
        return of_document(cls, known)


def measurement_id(job: str, attempt: int) -> str:
    """The id of what a job's attempt measured."""
    return hashlib.sha256(f"{job}\n{attempt}".encode()).hexdigest()[:32]
