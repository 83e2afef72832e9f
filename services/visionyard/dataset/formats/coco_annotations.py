"""One annotation of a COCO file as a label: box, polygon, mask, rotated box or keypoints.

The format: https://cocodataset.org/#format-data. A rotated box is written as CVAT and Datumaro do it, with ``attributes.rotation`` in degrees: beside the upright ``bbox``
that is turned around its centre, or beside the four corners.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.coco_categories import MAX_KEYPOINTS
from visionyard.dataset.formats.joined_parts import MAX_PARTS, Corners, join_parts
from visionyard.dataset.formats.run_lengths import MaskReader, NotMask, Outline
from visionyard.dataset.formats.shapes import Shape, WrittenLabel, rotated_corners

_NUMBERS_OF_A_TRIANGLE = 6
_NUMBERS_OF_FOUR_CORNERS = 8
_YES = frozenset({"1", "true", "yes"})
_SEEN = (0, 1, 2)

Remark = Callable[[str], None]
"""Hears the end of a sentence about an annotation whose outline could not be read as it is written, though its label is kept."""


class NotNumbers(ValueError):
    """What is written is not what numbers should be; the message says what it is."""


class AnnotationReader:
    """Reads the annotations of one labelling."""

    def __init__(self) -> None:
        self._masks = MaskReader()

    def read(self, annotation: dict[str, Any], class_id: int, remark: Remark) -> WrittenLabel:
        """The label that an annotation is.

        With a polygon or keypoints the box is the written one all the same, where it has an area: polygons often differ a little from it.

        Args:
            annotation: As written.
            class_id: Of its category.
            remark: See :data:`Remark`.
        """
        label = self._read(annotation, class_id, remark)
        # What has a score was predicted: https://cocodataset.org/#format-results.
        score = annotation.get("score")
        if isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1:
            return label._replace(confidence=float(score))
        return label

    def _read(self, annotation: dict[str, Any], class_id: int, remark: Remark) -> WrittenLabel:
        if _is_set(annotation.get("iscrowd")):
            return WrittenLabel(problem=Code.CROWD_REGION, message="is a crowd region, which stands for many objects")
        if "segments_info" in annotation:
            return WrittenLabel(problem=Code.UNSUPPORTED_SHAPE, message="is panoptic: its outlines lie in a picture of their own")
        try:
            box = _box(annotation.get("bbox"))
            if points := annotation.get("keypoints"):
                return _pose(_flat(points, "keypoints"), box, class_id)
        except NotNumbers as error:
            return WrittenLabel(problem=Code.MALFORMED_LABEL, message=str(error))
        rotation = _rotation(annotation)
        outline = self._outline(annotation.get("segmentation"), remark)
        if outline is not None and outline.parts:
            return _outlined(outline, box, class_id, rotated=rotation is not None)
        return _boxed(box, class_id, rotation or 0.0)

    def _outline(self, written: Any, remark: Remark) -> Outline | None:
        """A polygon's or a mask's outline; None where there is none that can be read."""
        if not written:
            return None
        try:
            outline = self._masks.outline(written) if isinstance(written, dict) else Outline((), _polygons(written, remark), holes=False)
        except NotMask as error:
            remark(f"has a mask that was not read: {error}")
            return None
        except NotNumbers as error:
            remark(str(error))
            return None
        if len(outline.parts) > MAX_PARTS:
            remark(f"has an outline of {len(outline.parts)} parts, more than the {MAX_PARTS} that are read")
            return None
        return outline


def _outlined(outline: Outline, box: tuple[float, ...], class_id: int, *, rotated: bool) -> WrittenLabel:
    """A label with an outline; a rotated box where four corners are said to be that."""
    points = tuple(join_parts(outline.parts).ravel().tolist())
    if rotated and len(points) == _NUMBERS_OF_FOUR_CORNERS:
        return WrittenLabel(class_id=class_id, shape=Shape.ROTATED, points=points)
    note = Code.HOLES_FILLED if outline.holes else Code.PARTS_JOINED if len(outline.parts) > 1 else None
    has_area = box and box[2] > box[0] and box[3] > box[1]
    return WrittenLabel(class_id=class_id, shape=Shape.POLYGON, box=box if has_area else outline.box, points=points, note=note)


def _boxed(box: tuple[float, ...], class_id: int, rotation: float) -> WrittenLabel:
    """A label without an outline."""
    if not box:
        return WrittenLabel(problem=Code.MALFORMED_LABEL, message="has neither a bbox nor an outline that can be read")
    left, top, right, bottom = box
    if rotation and math.isfinite(sum(box)):
        corners = rotated_corners((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, rotation)
        return WrittenLabel(class_id=class_id, shape=Shape.ROTATED, points=corners)
    return WrittenLabel(class_id=class_id, box=box)


def _is_set(written: Any) -> bool:
    """Whether a flag is set: 1, true, or a text that says so."""
    return written.strip().lower() in _YES if isinstance(written, str) else bool(written)


def _flat(written: Any, what: str) -> tuple[float, ...]:
    """A list of numbers."""
    if not isinstance(written, list):
        raise NotNumbers(f"has {what} that are no list")
    try:
        return tuple(array("d", written))
    except TypeError as error:
        raise NotNumbers(f"has {what} that are not all numbers") from error
    except OverflowError:  # an integer beyond all floats
        return (math.inf,) * len(written)


def _box(written: Any) -> tuple[float, ...]:
    """Left, top, right, bottom of a ``bbox``; empty where there is none."""
    if written is None or written == []:
        return ()
    values = _flat(written, "bbox values")
    if len(values) != 4:  # noqa: PLR2004 - left, top, width, height
        raise NotNumbers(f"has a bbox of {len(values)} numbers instead of 4")
    left, top, width, height = values
    return left, top, left + width, top + height


def _rotation(annotation: dict[str, Any]) -> float | None:
    """Degrees clockwise; None where none are written."""
    attributes = annotation.get("attributes")
    written = attributes.get("rotation") if isinstance(attributes, dict) else None
    if isinstance(written, bool) or not isinstance(written, int | float):
        return None
    return float(written) if -360 <= written <= 360 else None  # noqa: PLR2004 - a full turn


def _polygons(written: Any, remark: Remark) -> list[Corners]:
    """The parts of a polygon; a flat list of numbers is one part. Those that are no area are left out, and remarked on where there is anything to them."""
    if not isinstance(written, list):
        raise NotNumbers("has a segmentation that is neither a polygon nor a mask")
    parts = []
    for part in written if isinstance(written[0], list) else [written]:
        values = _flat(part, "polygon corners")
        if len(values) >= _NUMBERS_OF_A_TRIANGLE and len(values) % 2 == 0:
            parts.append(np.array(values).reshape(-1, 2))
        elif values:
            remark(f"has a polygon of {len(values)} numbers, which is no outline")
    return parts


def _pose(values: tuple[float, ...], box: tuple[float, ...], class_id: int) -> WrittenLabel:
    """A label with keypoints: x, y and visibility each. Without a box that of the keypoints which are there is taken."""
    count, rest = divmod(len(values), 3)
    if rest or not 0 < count <= MAX_KEYPOINTS:
        raise NotNumbers(f"has keypoints of {len(values)} numbers, which are not three each")
    x, y, seen = values[0::3], values[1::3], values[2::3]
    if not set(seen) <= set(_SEEN):
        raise NotNumbers("has a keypoint whose visibility is not 0, 1 or 2")
    if not box:
        there = [i for i in range(count) if seen[i]]
        if not there:
            raise NotNumbers("has neither a bbox nor a keypoint that is there")
        box = min(x[i] for i in there), min(y[i] for i in there), max(x[i] for i in there), max(y[i] for i in there)
    return WrittenLabel(class_id=class_id, shape=Shape.KEYPOINTS, box=box, points=values, dimensions=3)
