"""The rows of YOLO label files: ``class cx cy w h``, in shares of the picture's size (https://docs.ultralytics.com/datasets/detect/)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.shapes import LabelRow, Shape, enclosing
from visionyard.kit.artifacts.dataset import KeypointLayout

_BOX_COLUMNS = 5
_POLYGON_COLUMNS = 7
"""A class and three corners."""
_MAX_COLUMNS = 20_001
_SHOWN = 60


def read_rows(text: str, class_count: int, keypoints: KeypointLayout | None = None) -> Iterator[LabelRow]:
    """The rows of a label file; empty lines are none.

    A row with a class and three or more corners is a polygon; four corners may as well be those of a rotated box, which only all rows of a source together tell.

    Args:
        text: The file.
        class_count: How many classes there are.
        keypoints: What follows the box, where the source declares keypoints.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        columns = line.split(maxsplit=_MAX_COLUMNS)
        if columns:
            yield _row(number, columns, class_count, keypoints)


def _row(line: int, columns: list[str], class_count: int, keypoints: KeypointLayout | None) -> LabelRow:
    try:
        values = [float(column) for column in columns]
    except ValueError:
        return LabelRow(line, Code.MALFORMED_LABEL, f"holds {' '.join(columns)[:_SHOWN]!r}, which are not all numbers")
    if not all(map(math.isfinite, values)):
        return LabelRow(line, Code.NOT_A_NUMBER, "holds a value that is not a finite number")
    class_id = int(values[0])
    if values[0] != class_id:
        return LabelRow(line, Code.MALFORMED_LABEL, f"has the class {columns[0]}, which is no whole number")
    if not 0 <= class_id < class_count:
        return LabelRow(line, Code.UNKNOWN_CLASS, f"has the class {class_id}, but the classes are 0 to {class_count - 1}")
    return _shape(line, class_id, values[1:], keypoints)


def _shape(line: int, class_id: int, values: list[float], keypoints: KeypointLayout | None) -> LabelRow:
    count = len(values) + 1
    if count == _BOX_COLUMNS:
        cx, cy, w, h = values
        return LabelRow(line, class_id=class_id, cx=cx, cy=cy, w=w, h=h)
    if keypoints is not None:
        wanted = _BOX_COLUMNS + keypoints.count * keypoints.dimensions
        if count != wanted:
            return LabelRow(line, Code.MALFORMED_LABEL, f"has {count} columns; a box with its keypoints has {wanted}")
        return _posed(line, class_id, values, keypoints.dimensions)
    if count < _POLYGON_COLUMNS or count % 2 == 0:
        return LabelRow(line, Code.MALFORMED_LABEL, f"has {count} columns; a box has 5 (class, centre x, centre y, width, height)")
    left, top, right, bottom = enclosing(values)
    cx, cy = (left + right) / 2, (top + bottom) / 2
    return LabelRow(line, class_id=class_id, cx=cx, cy=cy, w=right - left, h=bottom - top, shape=Shape.POLYGON, points=tuple(values))


_LOOKED_AT = 100
_VISIBILITIES = frozenset({0.0, 1.0, 2.0})
_SEEN = 2.0


def _posed(line: int, class_id: int, values: list[float], dimensions: int) -> LabelRow:
    """A box with keypoints. To Ultralytics any visibility that is not 0 is one, but below 0 it drops the picture with all its labels."""
    cx, cy, w, h, *points = values
    note = None
    for at in range(2, len(points), 3) if dimensions == 3 else ():  # noqa: PLR2004 - x, y, visibility
        if points[at] < 0:
            return LabelRow(line, Code.MALFORMED_LABEL, f"has a keypoint of the visibility {points[at]:g}; it is 0, 1 or 2")
        if points[at] not in _VISIBILITIES:
            points[at], note = _SEEN, Code.VISIBILITY_UNKNOWN
    return LabelRow(
        line,
        class_id=class_id,
        cx=cx,
        cy=cy,
        w=w,
        h=h,
        note=note,
        shape=Shape.KEYPOINTS,
        points=tuple(points),
        dimensions=dimensions,
    )


def hold_labels(text: str) -> bool:
    """Whether one of a text's first hundred lines is a label row, or it is empty: what lies among label files is one although its first row is damaged."""
    return not text.strip() or any(line.strip() and looks_like_labels(line) for line in text.splitlines()[:_LOOKED_AT])


def looks_like_labels(text: str) -> bool:
    """Whether a text's first line that is not empty is a label row, or there is none."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        return True
    try:
        values = [float(column) for column in first.split(maxsplit=_MAX_COLUMNS)]
    except ValueError:
        return False
    return len(values) >= _BOX_COLUMNS and values[0] == values[0] // 1
