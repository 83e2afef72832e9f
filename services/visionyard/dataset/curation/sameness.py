"""Whether the labels of an image are what they were before they went through another tool, which writes pixels or percents with so many digits."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

from visionyard.dataset.formats.shapes import LabelRow

_NEAR_PX = 0.01
_NEAR_CONFIDENCE = 1e-4
_AROUND = tuple(itertools.product((-1, 0, 1), repeat=2))


def are_the_same(one: Sequence[LabelRow], other: Sequence[LabelRow], width: int, height: int) -> bool:
    """Whether each label of one list has its like in the other: of the same class and certainty, no number further off than a hundredth of a pixel.

    Args:
        one: Labels of an image.
        other: Others of the same image, class ids of the same list.
        width: Of the image, in pixels.
        height: Likewise.
    """
    if len(one) != len(other):
        return False
    cells: defaultdict[tuple[int, int], list[LabelRow]] = defaultdict(list)
    for label in one:
        cells[int(label.cx * width), int(label.cy * height)].append(label)
    for label in other:
        x, y = int(label.cx * width), int(label.cy * height)
        near = [cells[x + dx, y + dy] for dx, dy in _AROUND if (x + dx, y + dy) in cells]
        like = next(((cell, found) for cell in near for found in cell if _alike(label, found, width, height)), None)
        if like is None:
            return False
        like[0].remove(like[1])
    return True


def _alike(one: LabelRow, other: LabelRow, width: int, height: int) -> bool:
    if one.class_id != other.class_id or (one.confidence is None) != (other.confidence is None) or len(one.points) != len(other.points):
        return False
    if abs((one.confidence or 0.0) - (other.confidence or 0.0)) > _NEAR_CONFIDENCE:
        return False
    sides = itertools.cycle((width, height))
    numbers = zip((one.cx, one.cy, one.w, one.h), (other.cx, other.cy, other.w, other.h), sides, strict=False)
    # Which of the points' numbers are x, y or visibilities depends on the task: the longer side is the stricter measure for all.
    points = zip(one.points, other.points, itertools.repeat(max(width, height)), strict=False)
    return all(abs(a - b) * side <= _NEAR_PX for a, b, side in itertools.chain(numbers, points))
