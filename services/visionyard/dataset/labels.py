"""The labels of one image, checked as Ultralytics checks them (``verify_image_label``), but box by box: a bad row costs itself only, and is listed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from visionyard.dataset.findings import Code, Report
from visionyard.dataset.formats.shapes import LabelRow

_LEEWAY = 0.01
"""Ultralytics takes centres and sizes from -0.01 to 1.01."""
_ROUNDING = 2e-6
"""What writing six decimals may put a box beyond the edge; not worth a word."""

Labels = NDArray[np.float64]
"""FLOAT64 [labels, 5]: class id, centre x, centre y, width, height; sorted."""


def check_labels(rows: Iterable[LabelRow], file: str, report: Report) -> Labels:
    """Keeps the good rows of a label file and lists the others.

    Boxes that reach beyond the picture's edge are clipped to it, as Ultralytics does when it trains; a centre or size outside by more than one per cent is an error.

    Args:
        rows: The file's rows.
        file: Its path.
        report: Counts and lists.
    """
    kept: list[tuple[float, float, float, float, float]] = []
    seen: set[bytes] = set()
    noted: dict[Code, tuple[int, int]] = {}  # the first line, and how many
    for row in rows:
        report.labels.found += 1
        box = _box(row, file, report)
        if box is None:
            continue
        key = np.array((row.class_id, *box), dtype=np.float32).tobytes()  # the precision in which Ultralytics compares
        if key in seen:
            _drop(report, Code.DUPLICATE_BOX, "is the same as an earlier one", file, row.line)
            continue
        seen.add(key)
        if row.note is not None:
            line, count = noted.get(row.note, (row.line, 0))
            noted[row.note] = line, count + 1
        kept.append((row.class_id, *box))
    for code, (line, count) in noted.items():
        report.note(code, f"{file}:{line} is {_NOTES[code].format(count=count)}", file, line)
    report.labels.kept += len(kept)
    return np.array(sorted(kept), dtype=np.float64).reshape(-1, 5)


_NOTES = {
    Code.POLYGON_AS_BOX: "a polygon; it (and others in this file) became the box around it",
    Code.KEYPOINTS_IGNORED: "a box with keypoints; they were left out in this file",
    Code.DIFFICULT_KEPT: "the first of {count} objects in this file that are marked as difficult; they were kept",
}
"""Said once a file, of the first such label that is kept."""


def drop_all(rows: Iterable[LabelRow], code: Code, report: Report) -> int:
    """Counts the rows of a label file as found and dropped; returns how many they were."""
    count = sum(1 for _ in rows)
    report.labels.found += count
    report.drop_labels(code, count)
    return count


def _drop(report: Report, code: Code, message: str, file: str, line: int) -> None:
    report.drop_labels(code)
    report.note(code, f"{file}:{line} {message}", file, line)


def _box(row: LabelRow, file: str, report: Report) -> tuple[float, float, float, float] | None:
    """The row's box within the picture, or None where it was dropped."""
    if row.problem is not None:
        _drop(report, row.problem, row.message, file, row.line)
        return None
    cx, cy, w, h = row.cx, row.cy, row.w, row.h
    if w <= 0 or h <= 0:
        _drop(report, Code.ZERO_AREA_BOX, f"is a box without area (width {w:.6g}, height {h:.6g} of the picture's)", file, row.line)
        return None
    if not all(-_LEEWAY <= value <= 1 + _LEEWAY for value in (cx, cy, w, h)):
        _drop(report, Code.OUT_OF_RANGE, f"has centre {cx:.6g}, {cy:.6g} and size {w:.6g}, {h:.6g}, outside of 0 to 1", file, row.line)
        return None
    left, top, right, bottom = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    outside = max(-left, -top, right - 1, bottom - 1)
    if outside <= _ROUNDING:
        return cx, cy, w, h
    left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
    if right <= left or bottom <= top:
        _drop(report, Code.OUT_OF_RANGE, "lies outside of the picture", file, row.line)
        return None
    report.note(Code.BOX_CLIPPED, f"{file}:{row.line} reached {outside:.2%} beyond the picture's edge", file, row.line)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
