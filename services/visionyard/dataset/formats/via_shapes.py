"""The shapes that VIA draws, in pixels: rectangles, polygons, circles and ellipses; lines and points are no areas."""

from __future__ import annotations

import math
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.json_stream import as_number
from visionyard.dataset.formats.listed import Unusable
from visionyard.dataset.formats.shapes import Shape, WrittenLabel, ellipse_corners

_MIN_CORNERS = 3


def read_shape(attributes: Any, line: int, class_id: int) -> WrittenLabel:
    """A region's ``shape_attributes`` as a label. Circles and ellipses become polygons of 64 corners.

    Args:
        attributes: As written.
        line: See :class:`WrittenLabel`.
        class_id: Its class.

    Raises:
        Unusable: it is no area, or not whole.
    """
    if not isinstance(attributes, dict) or not isinstance(attributes.get("name"), str):
        raise Unusable(Code.MALFORMED_LABEL, "has no shape")
    name = attributes["name"]
    if name == "rect":
        x, y, width, height = _numbers(attributes, "x", "y", "width", "height")
        return WrittenLabel(line, class_id=class_id, box=(x, y, x + width, y + height))
    if name == "polygon":
        points = _polygon(attributes)
    elif name == "circle":
        x, y, r = _numbers(attributes, "cx", "cy", "r")
        points = ellipse_corners(x, y, r, r)
    elif name == "ellipse":
        x, y, rx, ry = _numbers(attributes, "cx", "cy", "rx", "ry")
        points = ellipse_corners(x, y, rx, ry, _turn(attributes))
    elif name in {"polyline", "point"}:
        raise Unusable(Code.UNSUPPORTED_SHAPE, f"is a {name}, which encloses nothing")
    else:
        raise Unusable(Code.UNSUPPORTED_SHAPE, f"is a {name[:40]!r}, which is not read")
    return WrittenLabel(line, class_id=class_id, shape=Shape.POLYGON, points=points)


def _numbers(attributes: dict[str, Any], *names: str) -> list[float]:
    found = [number for name in names if (number := as_number(attributes.get(name))) is not None]
    if len(found) != len(names):
        raise Unusable(Code.MALFORMED_LABEL, f"is a {attributes['name']} without {', '.join(names)} that are all numbers")
    return found


def _turn(attributes: dict[str, Any]) -> float:
    """Degrees; VIA writes radians, since 2.0.6."""
    if "theta" not in attributes:
        return 0.0
    [theta] = _numbers(attributes, "theta")
    if not math.isfinite(theta):
        raise Unusable(Code.NOT_A_NUMBER, "is an ellipse whose theta is not a finite number")
    return math.degrees(math.remainder(theta, math.tau))


def _polygon(attributes: dict[str, Any]) -> tuple[float, ...]:
    written = attributes.get("all_points_x"), attributes.get("all_points_y")
    xs, ys = ([number for value in side if (number := as_number(value)) is not None] if isinstance(side, list) else [] for side in written)
    if len(xs) != len(ys) or any(isinstance(side, list) and len(side) != len(xs) for side in written):
        raise Unusable(Code.MALFORMED_LABEL, "is a polygon whose all_points_x and all_points_y are not as many numbers each")
    if len(xs) > _MIN_CORNERS and (xs[0], ys[0]) == (xs[-1], ys[-1]):
        del xs[-1], ys[-1]  # VIA 1 says the first corner again at the end
    if len(xs) < _MIN_CORNERS:
        raise Unusable(Code.MALFORMED_LABEL, f"is a polygon of {len(xs)} corners")
    return tuple(value for pair in zip(xs, ys, strict=True) for value in pair)
