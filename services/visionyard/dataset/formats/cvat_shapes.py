"""CVAT's shapes as labels: which count, and what becomes of each.

Boxes (turned around their centre), polygons and skeletons stay what they are, ellipses become polygons, masks their outline, tags the class of the whole picture.
Polylines, points and cuboids bound no object and are listed. Groups are not joined: in CVAT they hold together what belongs together (a rider and a horse) as well
as parts of one object, and nothing tells which.
"""

from __future__ import annotations

from collections.abc import Callable

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.cvat_xml import MAX_KEYPOINTS, MAX_NAME, YES, CvatShape
from visionyard.dataset.formats.labelled import MAX_CLASSES
from visionyard.dataset.formats.row_masks import RowMasks
from visionyard.dataset.formats.run_lengths import NotMask
from visionyard.dataset.formats.shapes import Shape, WrittenLabel, ellipse_corners, enclosing, rotated_corners

_SHOWN = 60
_MIN_CORNERS = 3
_NOT_THERE = (0.0, 0.0, 0.0)
_BOX = ("xtl", "ytl", "xbr", "ybr")
_MASK = ("left", "top", "width", "height")
_ELLIPSE = ("cx", "cy", "rx", "ry")


class CvatLabels:
    """Makes labels of shapes.

    Args:
        classes: Gives each label's name its id.
        keypoints: The names of the keypoints that are known already, in their order; those that come up go behind them.
    """

    def __init__(self, classes: NamedClasses, keypoints: list[str]) -> None:
        self._classes = classes
        self._masks = RowMasks()
        self._keypoints = dict.fromkeys(keypoints[:MAX_KEYPOINTS])
        self._readers: dict[str, Callable[[CvatShape, int], WrittenLabel]] = {
            "box": self._box,
            "polygon": self._polygon,
            "ellipse": self._ellipse,
            "mask": self._mask,
            "skeleton": self._skeleton,
            "tag": self._tag,
        }

    @property
    def keypoints(self) -> tuple[str, ...]:
        """The names of the keypoints, in their order; empty where no skeleton came up."""
        return tuple(self._keypoints)

    def written(self, shape: CvatShape) -> WrittenLabel:
        """The label that a shape is, in pixels; with a problem where it cannot be used."""
        if not shape.label:
            return WrittenLabel(shape.line, Code.MALFORMED_LABEL, f"is a {shape.kind[:_SHOWN]} without a label")
        reader = self._readers.get(shape.kind)
        if reader is None:
            kind = shape.kind[:_SHOWN]
            return WrittenLabel(shape.line, Code.UNSUPPORTED_SHAPE, f"is a {kind} ({shape.label[:_SHOWN]!r}), which bounds no object")
        class_id = self._classes.id_of(shape.label)
        if class_id is None:
            return WrittenLabel(shape.line, Code.UNKNOWN_CLASS, f"is of yet another class; no more than {MAX_CLASSES} are read")
        try:
            return reader(shape, class_id)
        except NotMask as error:
            return WrittenLabel(shape.line, Code.MALFORMED_LABEL, f"is a mask ({shape.label[:_SHOWN]!r}) that cannot be read: {error}")
        except (KeyError, ValueError):
            return WrittenLabel(shape.line, Code.MALFORMED_LABEL, f"is a {shape.kind} ({shape.label[:_SHOWN]!r}) without all its numbers")

    def _box(self, shape: CvatShape, class_id: int) -> WrittenLabel:
        """Turned clockwise around its centre, where it is turned."""
        left, top, right, bottom = (float(shape.attributes[name]) for name in _BOX)
        degrees = float(shape.attributes.get("rotation", 0))
        if not degrees % 360:
            return WrittenLabel(shape.line, class_id=class_id, box=(left, top, right, bottom))
        corners = rotated_corners((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, degrees)
        return WrittenLabel(shape.line, class_id=class_id, shape=Shape.ROTATED, points=corners)

    def _polygon(self, shape: CvatShape, class_id: int) -> WrittenLabel:
        points = _pairs(shape.attributes["points"])
        if len(points) < 2 * _MIN_CORNERS:
            message = f"is a polygon ({shape.label[:_SHOWN]!r}) of fewer than three corners"
            return WrittenLabel(shape.line, Code.MALFORMED_LABEL, message)
        return WrittenLabel(shape.line, class_id=class_id, shape=Shape.POLYGON, points=points)

    def _ellipse(self, shape: CvatShape, class_id: int) -> WrittenLabel:
        cx, cy, rx, ry = (float(shape.attributes[name]) for name in _ELLIPSE)
        points = ellipse_corners(cx, cy, rx, ry, float(shape.attributes.get("rotation", 0)))
        return WrittenLabel(shape.line, class_id=class_id, shape=Shape.POLYGON, points=points)

    def _mask(self, shape: CvatShape, class_id: int) -> WrittenLabel:
        """Runs of pixels row by row, in turn outside and inside, within the mask's own box."""
        left, top, width, height = (int(shape.attributes[name]) for name in _MASK)
        runs = list(map(int, shape.attributes["rle"].split(",")))
        return self._masks.written(shape.line, class_id, runs, (width, height), (left, top))

    def _tag(self, shape: CvatShape, class_id: int) -> WrittenLabel:
        return WrittenLabel(shape.line, class_id=class_id, shape=Shape.IMAGE)

    def _skeleton(self, shape: CvatShape, class_id: int) -> WrittenLabel:
        """Points that are outside the picture are not there (0), those that are occluded hidden (1), the others seen (2); the box encloses those that are there."""
        written = {point["label"][:MAX_NAME]: _joint(point) for point in shape.points}
        names = dict.fromkeys((*self._keypoints, *written))
        if len(names) > MAX_KEYPOINTS:
            message = f"is a skeleton ({shape.label[:_SHOWN]!r}) with yet another point; no more than {MAX_KEYPOINTS} are read"
            return WrittenLabel(shape.line, Code.MALFORMED_LABEL, message)
        found = {name: joint for name, joint in written.items() if joint[2]}
        if not found:
            return WrittenLabel(
                shape.line, Code.MALFORMED_LABEL, f"is a skeleton ({shape.label[:_SHOWN]!r}) without a point in the picture"
            )
        self._keypoints = names
        points = [value for name in names for value in found.get(name, _NOT_THERE)]
        box = enclosing([value for x, y, _ in found.values() for value in (x, y)])
        return WrittenLabel(shape.line, class_id=class_id, shape=Shape.KEYPOINTS, box=box, points=tuple(points), dimensions=3)


def _joint(point: dict[str, str]) -> tuple[float, float, float]:
    """x, y and visibility of a skeleton's point; raises KeyError, ValueError."""
    if point.get("outside") in YES:
        return _NOT_THERE
    x, y = _pairs(point["points"])
    return x, y, 1.0 if point.get("occluded") in YES else 2.0


def _pairs(text: str) -> tuple[float, ...]:
    """The numbers of ``x,y;x,y``; raises ValueError where they are none, or not in pairs."""
    return tuple(float(value) for x, y in (pair.split(",") for pair in text.split(";")) for value in (x, y))
