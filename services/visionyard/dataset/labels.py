"""The labels of one image, checked as Ultralytics checks them (``verify_image_label``), but one by one: a bad one costs itself only, and is listed."""

from __future__ import annotations

import posixpath
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionyard.dataset.findings import Code, Report
from visionyard.dataset.formats.shapes import LabelRow, Shape
from visionyard.kit.artifacts.manifest import Label

_LEAST, _MOST = -0.01, 1.01
"""Coordinates that Ultralytics takes."""
_ROUNDING = 2e-6
"""What writing six decimals may put a box beyond the edge; not worth a word."""
_NO_CONFIDENCE = -1.0
_HEAD, _CLASS_AT = 9, 2


@dataclass(frozen=True)
class _Listing:
    """Lists what is found of one image's labels.

    Attributes:
        report: Counts and lists.
        file: Where the labels stand.
        picture: The image, where the file holds many images' labels; else empty.
    """

    report: Report
    file: str
    picture: str

    def note(self, code: Code, message: str, line: int, *, fixed: bool = False) -> None:
        """Lists a finding; the message is what follows file and line. Where the file does not tell the image, the message does."""
        known = not self.picture or posixpath.basename(self.picture) in message
        told = message if known else f"{message} (image {self.picture!r})"
        at = f"{self.file}:{line}" if line else f"{self.file}:"
        self.report.note(code, f"{at} {told}", self.file, line, fixed=fixed, picture=self.picture)

    def drop(self, code: Code, message: str, line: int) -> None:
        """Counts a label that is dropped, and lists it."""
        self.report.drop_labels(code)
        self.note(code, message, line)


def check_labels(rows: Iterable[LabelRow], file: str, report: Report, *, fix: bool = False, picture: str = "") -> list[LabelRow]:
    """Keeps the good labels of an image and lists the others.

    What reaches beyond the picture's edge is clipped to it, as Ultralytics does when it trains; a box whose centre or size is outside by more than one per cent is an error.

    Args:
        rows: The labels.
        file: Where they stand, for messages.
        report: Counts and lists.
        fix: Whether boxes whose corners are swapped are mended; else they are dropped.
        picture: The image's path, where the file holds many images' labels.
    """
    listing = _Listing(report, file, picture)
    kept: list[LabelRow] = []
    seen: set[bytes] = set()
    noted: dict[Code, tuple[int, int]] = {}  # the first line, and how many
    for row in rows:
        report.labels.found += 1
        label = _inside(row, listing, fix=fix)
        if label is None:
            continue
        key = likeness(label)
        if key in seen:
            listing.drop(Code.DUPLICATE_BOX, "is the same as an earlier one", row.line)
            continue
        seen.add(key)
        if row.note is not None:
            line, count = noted.get(row.note, (row.line, 0))
            noted[row.note] = line, count + 1
        kept.append(label)
    for code, (line, count) in noted.items():
        listing.note(code, f"is {_NOTES.get(code, 'the first of {count} such labels').format(count=count)}", line)
    report.labels.kept += len(kept)
    return kept


def likeness(label: LabelRow | Label) -> bytes:
    """What two labels have in common where Ultralytics takes them for one said twice: class, box and points, in single precision."""
    return array("f", (label.class_id, label.cx, label.cy, label.w, label.h, *label.points)).tobytes()


def distinct(labels: Iterable[LabelRow]) -> list[LabelRow]:
    """The labels without those that say the same again; of a person's and a predicted one the person's stays."""
    kept: dict[bytes, LabelRow] = {}
    for label in labels:
        other = kept.setdefault(likeness(label), label)
        if other.confidence is not None and label.confidence is None:
            kept[likeness(label)] = label
    return list(kept.values())


_NOTES = {
    Code.DIFFICULT_KEPT: "the first of {count} objects in this file that are marked as difficult; they were kept",
    Code.PARTS_JOINED: "the first of {count} objects in this file that have several parts; these were joined",
    Code.VISIBILITY_UNKNOWN: "the first of {count} labels in this file with a keypoint whose visibility is not 0, 1 or 2; it counts as seen",
    Code.HOLES_FILLED: "the first of {count} objects in this file that have holes; these were filled",
}
"""Said once a file, of the first such label that is kept."""


def drop_all(rows: Iterable[LabelRow], code: Code, report: Report) -> int:
    """Counts the labels of an image as found and dropped; returns how many they were."""
    count = sum(1 for _ in rows)
    report.labels.found += count
    report.drop_labels(code, count)
    return count


def _inside(written: LabelRow, listing: _Listing, *, fix: bool) -> LabelRow | None:
    """The label within the picture, or None where it was dropped."""
    row = _unswapped(written) if fix else written
    problem = _problem(row)
    if problem is not None:
        listing.drop(*problem, row.line)
        return None
    if row is not written:
        listing.note(Code.SWAPPED_CORNERS, "had its corners swapped; they were put in order", row.line, fixed=True)
    if row.shape is Shape.IMAGE:
        return row._replace(cx=0.5, cy=0.5, w=1.0, h=1.0)
    cx, cy, w, h = row.cx, row.cy, row.w, row.h
    left, top, right, bottom = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    outside = max(-left, -top, right - 1, bottom - 1)
    if outside > _ROUNDING:
        left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
        listing.note(Code.BOX_CLIPPED, f"reached {outside:.2%} beyond the picture's edge", row.line)
        cx, cy, w, h = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    elif not row.points:
        return row
    points = _keypoints(row, listing) if row.shape is Shape.KEYPOINTS else tuple(min(max(value, 0.0), 1.0) for value in row.points)
    return row._replace(cx=cx, cy=cy, w=w, h=h, points=points)


def _unswapped(row: LabelRow) -> LabelRow:
    """A box whose right edge was written left of its left one, or its bottom above its top, put right; any other label as it is."""
    if row.problem is None and row.shape in {Shape.BOX, Shape.KEYPOINTS} and (row.w < 0 or row.h < 0):
        return row._replace(w=abs(row.w), h=abs(row.h))
    return row


def _problem(row: LabelRow) -> tuple[Code, str] | None:
    """Why a label cannot be used; None where it can."""
    if row.problem is not None:
        return row.problem, row.message
    if row.shape is Shape.IMAGE:
        return None
    cx, cy, w, h = row.cx, row.cy, row.w, row.h
    if w <= 0 or h <= 0:
        code, what = (Code.SWAPPED_CORNERS, "with its corners swapped") if w and h else (Code.ZERO_AREA_BOX, "without area")
        return code, f"is a box {what} (width {w:.6g}, height {h:.6g} of the picture's)"
    if not (_LEAST <= cx <= _MOST and _LEAST <= cy <= _MOST and w <= _MOST and h <= _MOST):
        return Code.OUT_OF_RANGE, f"has centre {cx:.6g}, {cy:.6g} and size {w:.6g}, {h:.6g}, outside of 0 to 1"
    if min(cx + w / 2, 1.0) <= max(cx - w / 2, 0.0) or min(cy + h / 2, 1.0) <= max(cy - h / 2, 0.0):
        return Code.OUT_OF_RANGE, "lies outside of the picture"
    return None


def _keypoints(row: LabelRow, listing: _Listing) -> tuple[float, ...]:
    """Keypoints outside of the picture count as not there where they can (three dimensions), else they are moved to its edge."""
    step, kept, outside = row.dimensions, list(row.points), 0
    for at in range(0, len(kept), step):
        x, y = kept[at : at + 2]
        if not (_LEAST <= x <= _MOST and _LEAST <= y <= _MOST):
            outside += 1
            if step == 3:  # noqa: PLR2004 - x, y, visibility
                kept[at : at + 3] = 0.0, 0.0, 0.0
        kept[at : at + 2] = (min(max(value, 0.0), 1.0) for value in kept[at : at + 2])
    if outside:
        what = "count as not there" if step == 3 else "were moved to its edge"  # noqa: PLR2004
        listing.note(Code.KEYPOINT_OUTSIDE, f"has {outside} keypoints outside of the picture; they {what}", row.line)
    return tuple(kept)


def encode_labels(labels: Iterable[LabelRow]) -> bytes:
    """Labels as the staging database keeps them: nine numbers each, then the points."""
    values = array("d")
    for row in labels:
        confidence = _NO_CONFIDENCE if row.confidence is None else row.confidence
        values.extend((row.line, row.shape, row.class_id, row.cx, row.cy, row.w, row.h, confidence, len(row.points)))
        values.extend(row.points)
    return values.tobytes()


def _encoded(data: bytes) -> Iterator[tuple[float, float, int, float, float, float, float, float | None, tuple[float, ...]]]:
    """Of each label that :func:`encode_labels` wrote: line, shape, class, box, confidence and points."""
    values, at = array("d", data), 0
    while at < len(values):
        line, shape, class_id, cx, cy, w, h, confidence, count = values[at : at + _HEAD]
        at += _HEAD
        points = tuple(values[at : at + int(count)])
        at += int(count)
        yield line, shape, int(class_id), cx, cy, w, h, None if confidence == _NO_CONFIDENCE else confidence, points


def final_labels(data: bytes) -> Iterator[Label]:
    """Reads what :func:`encode_labels` wrote of labels that are in their task's shape."""
    for _, _, class_id, cx, cy, w, h, confidence, points in _encoded(data):
        yield Label(class_id, cx, cy, w, h, points, confidence)


def decode_labels(data: bytes) -> Iterator[LabelRow]:
    """Reads what :func:`encode_labels` wrote. Of keypoints the dimensions are not kept; the source's :class:`KeypointLayout` tells them."""
    for line, shape, class_id, cx, cy, w, h, confidence, points in _encoded(data):
        yield LabelRow(
            int(line),
            class_id=class_id,
            cx=cx,
            cy=cy,
            w=w,
            h=h,
            shape=Shape(int(shape)),
            points=points,
            confidence=confidence,
        )


def with_class_ids(data: bytes, class_ids: Sequence[int]) -> bytes | None:
    """What :func:`encode_labels` wrote of an image's labels without points, each of the class that ``class_ids`` has for its own; None where two classes become one."""
    values = array("d", data)
    old = values[_CLASS_AT::_HEAD]
    new = array("d", [class_ids[int(class_id)] for class_id in old])
    if len(set(new)) < len(set(old)):
        return None
    values[_CLASS_AT::_HEAD] = new
    return values.tobytes()


def boxes_of(data: bytes) -> NDArray[np.float64]:
    """Class and box of what :func:`encode_labels` wrote, all at once.

    Returns:
        FLOAT64 [labels, 5]: class id, then the box's centre x, centre y, width and height in shares of the picture.
    """
    values = np.frombuffer(data, dtype=np.float64)
    if values[_HEAD - 1 :: _HEAD].any():  # labels with points are of unequal length
        starts, at = [], 0
        while at < len(values):
            starts.append(at)
            at += _HEAD + int(values[at + _HEAD - 1])
        return np.stack([values[start + 2 : start + 7] for start in starts])
    return values.reshape(-1, _HEAD)[:, 2:7]
