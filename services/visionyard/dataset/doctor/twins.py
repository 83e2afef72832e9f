"""Labels that are nearly alike: two boxes of one class around what is probably one object."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from visionyard.dataset.findings import Code, Report

TWIN_IOU = 0.95
"""Two boxes of one class that overlap by more, as intersection over union, are nearly alike. Exact copies are dropped long before."""
_LISTED = 20
_MAX_DISTANCE = 500
_SHIFT = 1 - TWIN_IOU
"""Boxes of that overlap have centres no farther apart than this share of a width: moving a box by a share s of its width leaves (1 - s) / (1 + s) of overlap."""


class Twins:
    """Finds them in batch after batch of images.

    Args:
        report: Gets NEARLY_SAME_BOXES: the first files one by one, the others together.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._files = 0
        self._pairs = 0
        self._unlisted = ""

    def look(self, boxes: NDArray[np.float64], owner: NDArray[np.int64], paths: list[str], check: Callable[[], None]) -> None:
        """Looks through a batch.

        Boxes are sorted by image, class and centre, and each is compared with those that follow it, no more than 500, as long as some are near enough.

        Args:
            boxes: FLOAT64 [labels, 5]: class, centre x, centre y, width and height in pixels.
            owner: INT64 [labels]: the image of each, a position in ``paths``.
            paths: The images' paths.
            check: Called often; raises where the work is to stop.
        """
        order = np.lexsort((boxes[:, 1], boxes[:, 0], owner))
        boxes, owner = boxes[order], owner[order]
        numbers = np.zeros(len(paths), dtype=np.int64)
        for distance in range(1, min(len(boxes), _MAX_DISTANCE)):
            check()
            one, other = boxes[:-distance], boxes[distance:]
            near = (owner[:-distance] == owner[distance:]) & (one[:, 0] == other[:, 0])
            near &= other[:, 1] - one[:, 1] <= _SHIFT * np.maximum(one[:, 3], other[:, 3])
            at = np.flatnonzero(near)
            if not len(at):
                break
            alike = at[overlaps(one[at, 1:], other[at, 1:]) > TWIN_IOU]
            numbers += np.bincount(owner[alike], minlength=len(paths))
        for image in np.flatnonzero(numbers).tolist():
            self._note(paths[image], int(numbers[image]))

    def _note(self, path: str, pairs: int) -> None:
        self._files += 1
        self._pairs += pairs
        if self._files <= _LISTED:
            what = "two boxes" if pairs == 1 else f"{pairs} pairs of boxes"
            message = f"{path} has {what} of one class that overlap by more than {TWIN_IOU:.0%}: probably an object that was labelled twice; all were kept"
            self._report.note(Code.NEARLY_SAME_BOXES, message, path)
        elif not self._unlisted:
            self._unlisted = path

    def conclude(self) -> None:
        """Lists together what was not listed one by one."""
        if self._files > _LISTED:
            message = f"{self._files - _LISTED} more images, {self._unlisted} the first, have such boxes: {self._pairs} pairs in {self._files} images in all"
            self._report.note(Code.NEARLY_SAME_BOXES, message, self._unlisted)


def overlaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """FLOAT64 [pairs]: intersection over union of boxes, FLOAT64 [pairs, 4] each: centre x, centre y, width, height."""
    low = np.maximum(one[:, :2] - one[:, 2:] / 2, other[:, :2] - other[:, 2:] / 2)
    high = np.minimum(one[:, :2] + one[:, 2:] / 2, other[:, :2] + other[:, 2:] / 2)
    shared = np.maximum(high - low, 0).prod(axis=1)
    union = one[:, 2:].prod(axis=1) + other[:, 2:].prod(axis=1) - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float64).tiny), dtype=np.float64)
