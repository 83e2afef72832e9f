"""Which predictions are right: boxes of one picture against its labels, as Ultralytics counts them, and what was taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IOU = 0.5
"""A prediction that overlaps a label by so much (intersection over union) has found it: the IoU of mAP50."""


@dataclass(frozen=True)
class Found:
    """What a model found on one picture.

    Attributes:
        confidences: float32 of shape (n,), falling.
        classes: int32 of shape (n,), class ids.
        boxes: float32 of shape (n, 4), x1 y1 x2 y2 in pixels of the picture; (n, 8) for rotated boxes, x y of four corners.
        true_classes: int32 of shape (m,), those of the labels.
        true_boxes: The labels' boxes, shaped as ``boxes``.
        pairs: (label, prediction, IoU) of all that overlap by at least :data:`IOU`.
    """

    confidences: NDArray[np.float32]
    classes: NDArray[np.int32]
    boxes: NDArray[np.float32]
    true_classes: NDArray[np.int32]
    true_boxes: NDArray[np.float32]
    pairs: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class Verdict:
    """What of it is right.

    Attributes:
        right: The predictions that found a label of their class, and those labels.
        confused: The predictions that found a label of another class, and those labels: a false positive and a false negative each.
        invented: The predictions that found nothing: false positives.
        missed: The labels that nothing has found: false negatives.
    """

    right: tuple[tuple[int, int], ...]
    confused: tuple[tuple[int, int], ...]
    invented: tuple[int, ...]
    missed: tuple[int, ...]

    @property
    def false_positives(self) -> int:
        """How many predictions are wrong."""
        return len(self.confused) + len(self.invented)

    @property
    def false_negatives(self) -> int:
        """How many labels were not found as what they are."""
        return len(self.confused) + len(self.missed)


def judge(found: Found, confidence: float) -> Verdict:
    """Matches the predictions of at least a confidence with the labels, one to one.

    The surest prediction comes first and takes the label of its own class that it overlaps most among those not taken yet, as
    Ultralytics' ``BaseValidator.match_predictions`` does: so what is right here is what precision and recall are made of. Only what is left over on both
    sides is matched once more without regard to class, which tells what was taken for what.
    """
    count = int(np.searchsorted(-found.confidences, -np.float32(confidence), side="right"))
    overlapped: list[list[tuple[float, int]]] = [[] for _ in range(count)]
    for label, prediction, iou in found.pairs:
        if prediction < count:
            overlapped[prediction].append((iou, label))
    free = set(range(len(found.true_classes)))
    right: list[tuple[int, int]] = []
    left: list[int] = []
    for prediction in range(count):
        own = [(iou, label) for iou, label in overlapped[prediction] if found.true_classes[label] == found.classes[prediction]]
        _sort_out(prediction, _best(own, free), right, left)
    confused: list[tuple[int, int]] = []
    invented: list[int] = []
    for prediction in left:
        _sort_out(prediction, _best(overlapped[prediction], free), confused, invented)
    return Verdict(tuple(right), tuple(confused), tuple(invented), tuple(sorted(free)))


def _sort_out(prediction: int, label: int | None, matched: list[tuple[int, int]], left: list[int]) -> None:
    if label is None:
        left.append(prediction)
    else:
        matched.append((prediction, label))


def _best(overlaps: Sequence[tuple[float, int]], free: set[int]) -> int | None:
    """The free label that is overlapped most, no longer free then; of equal ones the first."""
    candidates = [(iou, -label) for iou, label in overlaps if label in free]
    if not candidates:
        return None
    label = -max(candidates)[1]
    free.remove(label)
    return label
