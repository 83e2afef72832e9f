"""The shapes of Label Studio's regions: from percent and turns to shares of the picture.

The units: https://labelstud.io/guide/export#Units-of-image-annotations. A rectangle is turned around its top left corner, clockwise in degrees, so x and y are where that
corner lies after the turn; an ellipse is turned around its centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.json_stream import as_number
from visionyard.dataset.formats.shapes import Shape, rotated_corners

_READ = frozenset({"rectangle", "polygon", "ellipse", "keypoint"})
_UNREAD = {
    "brush": "a brush stroke",
    "bitmask": "a bitmask",
    "vector": "a line of vectors",
    "videorectangle": "a rectangle in a video",
    "magicwand": "a brush stroke",
    "cuboid": "a cuboid",
}
_MAX_SIDE = 10_000_000
_ELLIPSE_CORNERS = 64
_MIN_CORNERS = 3


class Unreadable(ValueError):
    """A region cannot be used; the message is the end of a sentence that begins with where it is.

    Attributes:
        code: Why.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Geometry:
    """A region's shape.

    Attributes:
        shape: What it is.
        box: Left, top, right, bottom as shares; empty where the points tell.
        points: As shares.
        size: The picture's width and height in pixels as written; zeros where they are not.
    """

    shape: Shape
    box: tuple[float, ...] = ()
    points: tuple[float, ...] = ()
    size: tuple[int, int] = (0, 0)


def kind_of(item: dict[str, Any], value: dict[str, Any]) -> str:
    """What was drawn: ``rectangle``, ``polygon``, ``ellipse``, ``keypoint``, ``brush``, ...; empty for what is no region.

    JSON-MIN leaves the type out; there the value's own members tell.
    """
    type_ = item.get("type")
    if isinstance(type_, str):
        kind = type_[:40].lower().removesuffix("labels")
        return kind if kind in _READ or kind in _UNREAD else ""
    for kind in (*_READ, *_UNREAD):
        if f"{kind}labels" in value:
            return kind
    if "rle" in value:
        return "brush"
    if "points" in value:
        return "polygon"
    if "radiusX" in value:
        return "ellipse"
    return "rectangle" if {"x", "y", "width", "height"} <= value.keys() else ""


def geometry(kind: str, item: dict[str, Any], value: dict[str, Any]) -> Geometry:
    """A region's shape.

    Args:
        kind: What :func:`kind_of` told.
        item: The region's item of the result, which has the picture's size and turn.
        value: Its value.

    Raises:
        Unreadable: it cannot be used.
    """
    if kind in _UNREAD:
        raise Unreadable(Code.UNSUPPORTED_SHAPE, f"is {_UNREAD[kind]}, which is not read")
    if kind == "keypoint":
        raise Unreadable(
            Code.UNSUPPORTED_SHAPE,
            "is a keypoint that no rectangle takes: make each a child of its rectangle, or relate the two, no two of one name",
        )
    turned = as_number(item.get("image_rotation"))
    if turned:
        # The export does not say what the numbers of a turned picture are shares of.
        raise Unreadable(
            Code.UNSUPPORTED_SHAPE, f"was drawn on the picture turned by {turned:g} degrees: turn the picture back in Label Studio"
        )
    width, height = _side(item, value, "original_width"), _side(item, value, "original_height")
    size = (width, height) if width and height else (0, 0)
    if kind == "polygon":
        return Geometry(Shape.POLYGON, points=_polygon(value), size=size)
    if kind == "ellipse":
        return Geometry(Shape.POLYGON, points=_ellipse(value, size), size=size)
    return _rectangle(value, size)


def _side(item: dict[str, Any], value: dict[str, Any], name: str) -> int:
    side = as_number(item.get(name, value.get(name)))
    return int(side) if side is not None and 1 <= side <= _MAX_SIDE else 0


def _numbers(value: dict[str, Any], *names: str) -> list[float]:
    numbers = [as_number(value.get(name)) for name in names]
    known = [number for number in numbers if number is not None]
    if len(known) != len(names):
        raise Unreadable(Code.MALFORMED_LABEL, f"has no {', '.join(names)} that are all numbers")
    return known


def _turn(value: dict[str, Any]) -> float:
    """Degrees clockwise, from 0 to less than 360."""
    rotation = as_number(value.get("rotation")) or 0.0
    if not math.isfinite(rotation):
        raise Unreadable(Code.NOT_A_NUMBER, "holds a rotation that is not a finite number")
    return rotation % 360


def _rectangle(value: dict[str, Any], size: tuple[int, int]) -> Geometry:
    x, y, width, height = (number / 100 for number in _numbers(value, "x", "y", "width", "height"))
    turn = _turn(value)
    if not turn:
        return Geometry(Shape.BOX, (x, y, x + width, y + height), size=size)
    wide, high = _needed(size)
    corners = turned_corners(x * wide, y * high, width * wide, height * high, turn)
    return Geometry(Shape.ROTATED, points=tuple(number / size[i % 2] for i, number in enumerate(corners)), size=size)


def turned_corners(x: float, y: float, width: float, height: float, degrees: float) -> tuple[float, ...]:
    """The corners of a rectangle turned around its top left corner, as Label Studio turns it; in pixels, as :func:`rotated_corners` gives them.

    Args:
        x: Of that corner.
        y: Of that corner.
        width: Before the turn.
        height: Before the turn.
        degrees: Clockwise on the screen.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    centre = x + (width * cos - height * sin) / 2, y + (width * sin + height * cos) / 2
    return rotated_corners(*centre, width, height, degrees)


def _needed(size: tuple[int, int]) -> tuple[int, int]:
    """The picture's size, without which a turn cannot be understood: percent of width and height differ."""
    if not all(size):
        raise Unreadable(Code.MALFORMED_LABEL, "is rotated, but has no original_width and original_height")
    return size


def _polygon(value: dict[str, Any]) -> tuple[float, ...]:
    points = value.get("points")
    corners = [[as_number(number) for number in point] for point in points if isinstance(point, list)] if isinstance(points, list) else []
    numbers = tuple(number / 100 for corner in corners for number in corner if number is not None)
    if not corners or any(len(corner) != 2 for corner in corners) or len(numbers) != 2 * len(points or ()):  # noqa: PLR2004 - x and y
        raise Unreadable(Code.MALFORMED_LABEL, "has no points that are all pairs of numbers")
    if len(corners) < _MIN_CORNERS or value.get("closed") is False:
        raise Unreadable(Code.UNSUPPORTED_SHAPE, f"is a polygon of {len(corners)} corners that was not closed or encloses nothing")
    return numbers


def _ellipse(value: dict[str, Any], size: tuple[int, int]) -> tuple[float, ...]:
    """An ellipse as the polygon of 64 corners on it: less than 0.2 % of its area is lost."""
    x, y, across, down = (number / 100 for number in _numbers(value, "x", "y", "radiusX", "radiusY"))
    turn = math.radians(_turn(value))
    wide, high = _needed(size) if turn else (1, 1)
    cos, sin = math.cos(turn), math.sin(turn)
    corners: list[float] = []
    for number in range(_ELLIPSE_CORNERS):
        angle = 2 * math.pi * number / _ELLIPSE_CORNERS
        dx, dy = across * wide * math.cos(angle), down * high * math.sin(angle)
        corners += [x + (dx * cos - dy * sin) / wide, y + (dx * sin + dy * cos) / high]
    return tuple(corners)
