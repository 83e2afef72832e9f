"""The thresholds and limits of a prediction, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from visionyard.kit.errors import invalid_field

MAX_DETECTIONS = 1000


@dataclass(frozen=True)
class Options:
    """Thresholds and limits; the defaults are those of Ultralytics' predict.

    Attributes:
        confidence: Only detections strictly above it, from 0 to 1.
        iou: Of two boxes of a class that overlap by more, only the surer one, from 0 to 1.
        class_ids: Only these classes; empty: all.
        max_detections: At most so many, from 1 to 1000.
    """

    confidence: float = 0.25
    iou: float = 0.7
    class_ids: frozenset[int] = frozenset()
    max_detections: int = 300

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            YardError: INVALID_FIELD.
        """
        for name, value in (("confidence", self.confidence), ("iou", self.iou)):
            if not math.isfinite(value) or not 0 <= value <= 1:
                raise invalid_field(f"options.{name}", f"must be from 0 to 1, but is {value:g}")
        if not 1 <= self.max_detections <= MAX_DETECTIONS:
            raise invalid_field("options.max_detections", f"must be from 1 to {MAX_DETECTIONS}, but is {self.max_detections}")

    def check_classes(self, count: int) -> None:
        """Checks that the class filter names classes of a model with `count` classes.

        Raises:
            YardError: INVALID_FIELD.
        """
        for class_id in sorted(self.class_ids):
            if not 0 <= class_id < count:
                raise invalid_field("options.class_ids", f"{class_id} is not a class of this model: its classes are 0 to {count - 1}")
