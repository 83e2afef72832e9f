"""One label file of labelme's and its shapes as labels.

The format is that of https://github.com/wkentaro/labelme, versions 3 to 5 (``labelme/_label_file.py``, and its converters under ``examples``): one file an image, with
``shapes`` of ``label``, ``points`` (x, y each, in pixels of the upright picture), ``shape_type``, ``group_id`` and ``mask``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.joined_parts import MAX_PARTS, join_parts
from visionyard.dataset.formats.labelled import MAX_CLASSES
from visionyard.dataset.formats.row_masks import RowMasks, runs_of
from visionyard.dataset.formats.run_lengths import NotMask
from visionyard.dataset.formats.shapes import Shape, WrittenLabel, ellipse_corners, enclosing
from visionyard.dataset.source import decode_text
from visionyard.kit.errors import YardError
from visionyard.kit.vision.decode import decode_image

IGNORED = frozenset({"__ignore__", "_background_"})
"""What labelme's converters take for no class."""
_READ = frozenset({"rectangle", "polygon", "circle", "mask", "rotation", "oriented_rectangle"})
"""X-AnyLabeling, which writes labelme's files, has rotated boxes too."""
_SHOWN = 60
_MAX_MASK_PIXELS = 1 << 25
_TWO_CORNERS, _TRIANGLE, _FOUR_CORNERS = 4, 6, 8


class WrongPoints(ValueError):
    """A shape has not the points that it needs."""


class NotLabelme(ValueError):
    """The file is none of labelme's; the message says why."""


class DamagedLabelme(NotLabelme):
    """The file cannot be read to its end."""


@dataclass(frozen=True)
class LabelmeFile:
    """A label file.

    Attributes:
        image: The picture's path as written; empty where there is none.
        size: Width and height as written, in pixels; zeros where there are none.
        shapes: As written.
        flags: The names of the picture's flags, in their order, and whether each is set.
        embedded: Whether the file holds the picture itself.
    """

    image: str = ""
    size: tuple[int, int] = (0, 0)
    shapes: list[Any] = field(default_factory=list)
    flags: dict[str, bool] = field(default_factory=dict)
    embedded: bool = False


def parse_labelme(data: bytes, *, embedded: bool) -> LabelmeFile:
    """Reads a label file.

    Args:
        data: Its bytes, without the picture that it may hold.
        embedded: Whether it holds one.

    Raises:
        DamagedLabelme: it is no JSON.
        NotLabelme: it is none of labelme's.
    """
    try:
        document = json.loads(decode_text(data))
    except (ValueError, RecursionError) as error:
        raise DamagedLabelme("it is no well-formed JSON") from error
    match document:
        case {"shapes": list(shapes), "imagePath": _} | {"shapes": list(shapes), "imageData": _}:
            flags = document.get("flags")
            set_flags = {_clean(name): value is True for name, value in flags.items()} if isinstance(flags, dict) else {}
            size = (_size(document.get("imageWidth")), _size(document.get("imageHeight")))
            return LabelmeFile(_clean(document.get("imagePath")), size, shapes, set_flags, embedded)
    raise NotLabelme("it has no shapes, or names no image")


def _clean(text: object) -> str:
    """A text that can be stored: JSON may hold halves of characters, which no encoding has."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""


def _size(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < 1 << 24 else 0


class ShapeReader:
    """Reads the shapes of one labelling's files."""

    def __init__(self) -> None:
        self._masks = RowMasks()

    def labels(self, shapes: list[Any], class_id: Callable[[str], int | None]) -> Iterator[WrittenLabel]:
        """The labels of a file. Shapes of one label and group are parts of one object, as labelme's own converters see it; a group of boxes is the box around them.

        Args:
            shapes: As written.
            class_id: Gives a label's class; None where there are too many.
        """
        objects: dict[tuple[str, str], list[WrittenLabel]] = {}
        for number, shape in enumerate(shapes, start=1):
            name = _clean(shape.get("label")).strip() if isinstance(shape, dict) else ""
            label = (
                self._label(number, name, shape, class_id)
                if name
                else _problem(Code.MALFORMED_LABEL, f"has a shape {number} without a label")
            )
            group = shape.get("group_id") if label.problem is None else None
            grouped = isinstance(group, int | str) and not isinstance(group, bool)
            objects.setdefault((name, str(group)) if grouped else ("", str(number)), []).append(label)
        for parts in objects.values():
            yield parts[0] if len(parts) == 1 else _joined(parts)

    def _label(self, number: int, name: str, shape: dict[str, Any], class_id: Callable[[str], int | None]) -> WrittenLabel:
        """A shape by itself."""
        where = f"has as shape {number} ({name[:_SHOWN]!r})"
        if name in IGNORED:
            return _problem(Code.IGNORED_REGION, f"{where} what labelme's converters take for no class")
        kind, points = _clean(shape.get("shape_type")) or "polygon", _numbers(shape.get("points"))
        if kind not in _READ:
            return _problem(Code.UNSUPPORTED_SHAPE, f"{where} a {kind[:_SHOWN]}, which bounds no object")
        if not all(map(math.isfinite, points)):
            return _problem(Code.NOT_A_NUMBER, f"{where} one with a coordinate that is not a finite number")
        class_number = class_id(name)
        if class_number is None:
            return _problem(Code.UNKNOWN_CLASS, f"{where} one of yet another class; no more than {MAX_CLASSES} are read")
        try:
            return self._mask(shape, points, class_number) if kind == "mask" else _drawn(kind, points, class_number)
        except (NotMask, WrongPoints) as error:
            return _problem(Code.MALFORMED_LABEL, f"{where} a {kind} that cannot be read: {error}")

    def _mask(self, shape: dict[str, Any], points: tuple[float, ...], class_id: int) -> WrittenLabel:
        """A mask is a picture, in base64, of the box that its two points span; what is not black is inside."""
        written = shape.get("mask")
        if not isinstance(written, str) or len(points) != _TWO_CORNERS:
            raise NotMask("it has no mask in a box of two corners")
        try:
            pixels = decode_image(base64.b64decode(written, validate=True), _MAX_MASK_PIXELS)
        except (binascii.Error, ValueError, YardError) as error:
            raise NotMask("its picture is damaged or too large") from error
        left, top, _, _ = enclosing(points)
        height, width = pixels.shape[:2]
        return self._masks.written(0, class_id, runs_of(np.asarray(pixels.any(axis=2))), (width, height), (left, top))


def _problem(code: Code, message: str) -> WrittenLabel:
    return WrittenLabel(problem=code, message=message)


def _numbers(points: object) -> tuple[float, ...]:
    """The numbers of a list of points; empty where it is none."""
    try:
        return tuple(array("d", (value for x, y in points for value in (x, y)))) if isinstance(points, list) else ()
    except (TypeError, ValueError):
        return ()
    except OverflowError:  # an integer beyond all floats
        return (float("inf"),) * (2 * len(points)) if isinstance(points, list) else ()


def _drawn(kind: str, points: tuple[float, ...], class_id: int) -> WrittenLabel:
    """A shape that is drawn by points; raises WrongPoints where they are not as many as it needs."""
    if kind == "rectangle" and len(points) in {_TWO_CORNERS, _FOUR_CORNERS}:
        return WrittenLabel(class_id=class_id, box=enclosing(points))
    if kind == "polygon" and len(points) >= _TRIANGLE:
        return WrittenLabel(class_id=class_id, shape=Shape.POLYGON, points=points)
    if kind == "circle" and len(points) == _TWO_CORNERS:
        x, y, edge_x, edge_y = points  # the middle, and a point on the circle
        radius = math.hypot(edge_x - x, edge_y - y)
        return WrittenLabel(class_id=class_id, shape=Shape.POLYGON, points=ellipse_corners(x, y, radius, radius))
    if kind in {"rotation", "oriented_rectangle"} and len(points) == _FOUR_CORNERS:
        return WrittenLabel(class_id=class_id, shape=Shape.ROTATED, points=points)
    raise WrongPoints(f"it has {len(points) // 2} points")


def _joined(parts: list[WrittenLabel]) -> WrittenLabel:
    """One label of an object's parts."""
    box = enclosing([value for part in parts for value in (part.box or enclosing(part.points))])
    class_id, note = parts[0].class_id, Code.PARTS_JOINED
    if len(parts) > MAX_PARTS:
        return _problem(Code.MALFORMED_LABEL, f"has a group of {len(parts)} shapes, more than the {MAX_PARTS} that are joined")
    if all(part.shape is Shape.BOX for part in parts):
        return WrittenLabel(class_id=class_id, box=box, note=note)
    outlines = [np.reshape(part.points or _corners(part.box), (-1, 2)) for part in parts]
    points = tuple(join_parts(outlines).ravel().tolist())
    return WrittenLabel(class_id=class_id, shape=Shape.POLYGON, box=box, points=points, note=note)


def _corners(box: tuple[float, ...]) -> tuple[float, ...]:
    left, top, right, bottom = box
    return left, top, right, top, right, bottom, left, bottom
