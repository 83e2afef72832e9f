"""What a label looks like: a box, polygon, rotated box, box with keypoints, or a whole picture's class; and how tools write each.

A parser says what it read as a :class:`WrittenLabel`, in the units of its format. Only when the picture's size is known does it become a
:class:`~.labelled.LabelRow`, in shares of the picture.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import NamedTuple

from visionyard.dataset.findings import Code


class Shape(enum.IntEnum):
    """What a label's ``points`` mean. The numbers are stored in the staging database only."""

    BOX = 0
    """No points; the box is all."""
    POLYGON = 1
    """Three or more corners, x and y each."""
    ROTATED = 2
    """Four corners of a rotated box, x and y each."""
    KEYPOINTS = 3
    """The box's keypoints, x, y (and visibility) each."""
    IMAGE = 4
    """No points; the class is the whole picture's."""


class Unit(enum.IntEnum):
    """What a parser's coordinates are in."""

    PIXELS = 0
    SHARES = 1


class LabelRow(NamedTuple):
    """One label as its source has it.

    Attributes:
        line: Where in its file, from 1; 0 where lines mean nothing (JSON).
        problem: Why it cannot be used; None where it can, as far as its own row tells.
        message: The end of a sentence about the problem, which begins with file and line.
        class_id: From 0.
        cx: The x of the box's centre, as a share of the picture's width. The box encloses the points of a polygon or a rotated box.
        cy: The centre's y as a share of its height.
        w: The width as a share.
        h: The height as a share.
        note: Something worth listing about a label that is used.
        shape: What it is.
        points: As shares; see :class:`Shape`. A visibility is 0 (not there), 1 (hidden) or 2 (seen).
        confidence: Of a prediction that nobody has confirmed, 0 to 1; None for a person's label.
        dimensions: Numbers a keypoint: 2 or 3.
    """

    line: int
    problem: Code | None = None
    message: str = ""
    class_id: int = 0
    cx: float = 0.0
    cy: float = 0.0
    w: float = 0.0
    h: float = 0.0
    note: Code | None = None
    shape: Shape = Shape.BOX
    points: tuple[float, ...] = ()
    confidence: float | None = None
    dimensions: int = 2

    def with_class(self, class_id: int) -> LabelRow:
        """The same label of another class."""
        return self._replace(class_id=class_id)

    def key(self) -> tuple[object, ...]:
        """What two labels that say the same have in common."""
        return self.class_id, self.cx, self.cy, self.w, self.h, self.points


class WrittenLabel(NamedTuple):
    """One label in the units of its format.

    Attributes:
        line: As in :class:`LabelRow`, likewise ``problem``, ``message``, ``class_id``, ``note``, ``shape`` and ``confidence``.
        box: Left, top, right, bottom; empty where the points tell it.
        points: See :class:`Shape`.
        unit: What box and points are in.
        dimensions: Numbers a keypoint: 2 or 3.
    """

    line: int = 0
    problem: Code | None = None
    message: str = ""
    class_id: int = 0
    shape: Shape = Shape.BOX
    box: tuple[float, ...] = ()
    points: tuple[float, ...] = ()
    unit: Unit = Unit.PIXELS
    dimensions: int = 2
    note: Code | None = None
    confidence: float | None = None

    def row(self, width: int, height: int) -> LabelRow:
        """The label in shares of a picture of that size, in pixels; of a picture without size (it cannot be read) the label is only counted."""
        if self.problem is not None:
            return LabelRow(self.line, self.problem, self.message)
        if not all(map(math.isfinite, (*self.box, *self.points))):
            return LabelRow(self.line, Code.NOT_A_NUMBER, "holds a coordinate that is not a finite number")
        wide, high = (1, 1) if self.unit is Unit.SHARES else (width or 1, height or 1)
        step = self.dimensions if self.shape is Shape.KEYPOINTS else 2
        points = tuple(value / (wide, high, 1)[i % step] for i, value in enumerate(self.points)) if self.points else ()
        left, top, right, bottom = self.box or enclosing(self.points)
        return LabelRow(
            self.line,
            class_id=self.class_id,
            cx=(left + right) / 2 / wide,
            cy=(top + bottom) / 2 / high,
            w=(right - left) / wide,
            h=(bottom - top) / high,
            note=self.note,
            shape=self.shape,
            points=points,
            confidence=self.confidence,
            dimensions=self.dimensions,
        )


def enclosing(points: Sequence[float]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of corners x, y, x, y, ...; zeros where there are none."""
    x, y = points[0::2], points[1::2]
    return (min(x), min(y), max(x), max(y)) if x and y else (0.0, 0.0, 0.0, 0.0)


def rotated_corners(cx: float, cy: float, width: float, height: float, degrees: float) -> tuple[float, ...]:
    """The four corners of a box turned around its centre.

    Args:
        cx: The centre's x in pixels: a turn in shares of a picture that is not square would shear the box.
        cy: Its y.
        width: Before the turn.
        height: Before the turn.
        degrees: Clockwise on the screen (y grows downwards).

    Returns:
        x and y of each corner, beginning with the one that was top left.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners: list[float] = []
    for dx, dy in ((-width / 2, -height / 2), (width / 2, -height / 2), (width / 2, height / 2), (-width / 2, height / 2)):
        corners += [cx + dx * cos - dy * sin, cy + dx * sin + dy * cos]
    return tuple(corners)


_ELLIPSE_CORNERS = 64
"""A polygon of so many corners covers 99.8 % of its ellipse. A multiple of four, so that the ends of both axes are corners."""


def ellipse_corners(cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> tuple[float, ...]:
    """An ellipse (or circle) as a polygon: neither detection nor segmentation knows any other closed outline, and a box alone would lose what was drawn.

    Args:
        cx: The centre's x in pixels; see :func:`rotated_corners`.
        cy: Its y.
        rx: Half the axis that lies along x before the turn.
        ry: Half the other.
        degrees: Clockwise on the screen.

    Returns:
        x and y of 64 corners.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners: list[float] = []
    for step in range(_ELLIPSE_CORNERS):
        angle = 2 * math.pi * step / _ELLIPSE_CORNERS
        dx, dy = rx * math.cos(angle), ry * math.sin(angle)
        corners += [cx + dx * cos - dy * sin, cy + dx * sin + dy * cos]
    return tuple(corners)
