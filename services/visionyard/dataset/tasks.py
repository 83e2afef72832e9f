"""What a version's labels are for: decided from the shapes that its source holds, and every label brought into that one shape."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import cv2
import numpy as np

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.shapes import LabelRow, Shape, enclosing
from visionyard.kit.artifacts.dataset import KeypointLayout
from visionyard.kit.artifacts.manifest import Label
from visionyard.kit.errors import Reason, YardError

TASKS = ("detect", "segment", "classify", "pose", "obb")
"""In Ultralytics' words."""
_QUAD = 8


@dataclass
class ShapeCounts:
    """What shapes the kept labels of a source have.

    Attributes:
        shapes: How many labels have each shape.
        quads: How many of the polygons have four corners.
    """

    shapes: Counter[Shape] = field(default_factory=Counter)
    quads: int = 0

    def add(self, labels: list[LabelRow]) -> None:
        """Counts the labels of an image."""
        for label in labels:
            self.shapes[label.shape] += 1
            self.quads += label.shape is Shape.POLYGON and len(label.points) == _QUAD

    def only(self, shape: Shape) -> bool:
        """Whether there are labels, and all have this shape."""
        return 0 < self.shapes[shape] == self.shapes.total()


@dataclass(frozen=True)
class Decision:
    """A task.

    Attributes:
        task: One of :data:`TASKS`.
        reason: Why, in a sentence.
        guessed: Whether another task would fit as well.
    """

    task: str
    reason: str
    guessed: bool = False


def decide_task(asked: str, declared: str, counts: ShapeCounts, source_format: str) -> Decision:
    """Decides what a source's labels are for.

    Args:
        asked: What the user says; empty: found out.
        declared: What the source itself says; likewise.
        counts: The shapes of its labels.
        source_format: In YOLO's files a polygon of four corners and a rotated box are written alike.
    """
    shapes = counts.shapes
    quads = source_format == "yolo" and counts.quads == shapes.total()
    others = shapes.total() - shapes[Shape.BOX] - shapes[Shape.IMAGE]
    ladder = (
        (bool(asked), asked, f"{asked}, as asked for"),
        (bool(declared), declared, f"{declared}, as the source declares"),
        (counts.only(Shape.IMAGE), "classify", "classify: every label is a class of a whole picture"),
        (shapes[Shape.KEYPOINTS] > 0, "pose", "pose: there are labels with keypoints"),
        (counts.only(Shape.POLYGON) and quads, "obb", "obb: every label row has four corners, which YOLO writes for rotated boxes"),
        (counts.only(Shape.POLYGON), "segment", "segment: every label is a polygon"),
        (shapes[Shape.ROTATED] > 0 and not shapes[Shape.POLYGON], "obb", "obb: there are rotated boxes"),
        (others > 0, "detect", "detect: not every label is a polygon, so boxes were taken"),
        (True, "detect", "detect: every label is a box"),
    )
    task, reason = next((task, reason) for holds, task, reason in ladder if holds)
    return Decision(task, reason, guessed=not asked and not declared and task == "obb" and quads)


@dataclass(frozen=True)
class Converted:
    """A label in its task's shape.

    Attributes:
        label: The label; None where it says nothing for the task.
        code: What was changed, or why it was left out; None where nothing was.
    """

    label: Label | None
    code: Code | None = None


class Converter:
    """Brings labels into the shape of one task.

    Args:
        task: One of :data:`TASKS`.
        class_ids: The final id of each class id that labels have.
        keypoints: What the keypoints of a pose version are.

    Raises:
        YardError: NO_LABELS, the task is ``pose`` but nothing tells what the keypoints are.
    """

    def __init__(self, task: str, class_ids: list[int], keypoints: KeypointLayout | None) -> None:
        if task == "pose" and keypoints is None:
            raise YardError(Reason.NO_LABELS, "the source's labels have no keypoints, so it cannot be imported for pose: leave out --task")
        self._task = task
        self._class_ids = class_ids
        self._keypoints = keypoints

    def classes_only(self, counts: ShapeCounts) -> list[int] | None:
        """The final id of each class id, where that is all that changes of labels of these shapes; else None."""
        return self._class_ids if self._task == "detect" and counts.only(Shape.BOX) else None

    def convert(self, row: LabelRow, width: int, height: int) -> Converted:
        """Converts a label of a picture of that size, in pixels."""
        if (row.shape is Shape.IMAGE) != (self._task == "classify"):
            return Converted(None, Code.OTHER_KIND_OF_LABEL)
        points, code = self._points(row, width, height)
        box = (row.cx, row.cy, row.w, row.h)
        if self._task in {"segment", "obb"}:
            left, top, right, bottom = enclosing(points)
            box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        return Converted(Label(self._class_ids[row.class_id], *box, points, row.confidence), code)

    def _points(self, row: LabelRow, width: int, height: int) -> tuple[tuple[float, ...], Code | None]:
        if self._task == "segment":
            return (row.points, None) if row.shape in {Shape.POLYGON, Shape.ROTATED} else (_corners(row), Code.BOX_AS_POLYGON)
        if self._task == "obb":
            if row.shape is Shape.ROTATED or (row.shape is Shape.POLYGON and len(row.points) == _QUAD):
                return row.points, None
            return (_smallest(row.points, width, height), Code.POLYGON_AS_ROTATED) if row.shape is Shape.POLYGON else (_corners(row), None)
        if self._task == "pose" and self._keypoints is not None:
            count = self._keypoints.count * self._keypoints.dimensions
            if row.shape is Shape.KEYPOINTS and len(row.points) == count:
                return row.points, None
            return (0.0,) * count, Code.NO_KEYPOINTS
        lost = {Shape.POLYGON: Code.POLYGON_AS_BOX, Shape.ROTATED: Code.ROTATED_AS_BOX, Shape.KEYPOINTS: Code.KEYPOINTS_IGNORED}
        return (), lost.get(row.shape)


def _corners(row: LabelRow) -> tuple[float, ...]:
    left, top, right, bottom = row.cx - row.w / 2, row.cy - row.h / 2, row.cx + row.w / 2, row.cy + row.h / 2
    return left, top, right, top, right, bottom, left, bottom


def _smallest(points: tuple[float, ...], width: int, height: int) -> tuple[float, ...]:
    """The corners of the smallest rotated box around a polygon, as shares, kept within the picture."""
    size = np.array([width, height], dtype=np.float64)
    corners = cv2.boxPoints(cv2.minAreaRect((np.reshape(points, (-1, 2)) * size).astype(np.float32))) / size
    return tuple(np.clip(corners, 0.0, 1.0).reshape(-1).tolist())
