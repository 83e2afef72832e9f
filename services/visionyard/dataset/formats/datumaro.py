"""Reads what :mod:`visionyard.dataset.converting.datumaro_program` wrote of a source as a labelling of that source. What it wrote is no more to be trusted than the source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.coco_annotations import AnnotationReader, Remark
from visionyard.dataset.formats.coco_categories import mirrored
from visionyard.dataset.formats.json_lines import json_lines
from visionyard.dataset.formats.json_stream import NotJson, as_number
from visionyard.dataset.formats.labelled import clean_class_name, split_of_folder
from visionyard.dataset.formats.listed import ListedImages, ListedSource, Unusable
from visionyard.dataset.formats.shapes import Shape, WrittenLabel, ellipse_corners
from visionyard.dataset.source import SourceTree
from visionyard.kit.artifacts.dataset import KeypointLayout

PREFIX = "datumaro:"
"""Before the name of one of Datumaro's formats, where formats are named."""
_SIDES = 4
_SHOWN = 80


@dataclass(frozen=True)
class Conversion:
    """What Datumaro made of a source.

    Attributes:
        format: The format that it read.
        items: The file of lines.
        classes: The names of the classes that labels have, in Datumaro's order.
        keypoints: The keypoints' names; empty where they have none.
    """

    format: str
    items: Path
    classes: tuple[str, ...] = ()
    keypoints: tuple[str, ...] = ()


class DatumaroSource(ListedSource):
    """A source that Datumaro read. Build it with :func:`read_datumaro`."""

    left_out_because = (Code.IMAGE_NOT_LISTED, "is no part of the set that Datumaro read")

    def __init__(self, tree: SourceTree, conversion: Conversion) -> None:
        super().__init__(tree, NamedClasses(conversion.classes))
        self.format = PREFIX + conversion.format


def read_datumaro(tree: SourceTree, conversion: Conversion) -> DatumaroSource:
    """Reads a conversion.

    Args:
        tree: The source that was converted.
        conversion: What came of it.
    """
    source = DatumaroSource(tree, conversion)
    reader = _Reader(tree, source, conversion.items)
    reader.read()
    if reader.keypoint_count:
        names = tuple(clean_class_name(name, i) for i, name in enumerate(conversion.keypoints))
        names = names if len(names) == reader.keypoint_count else ()
        source.keypoints = KeypointLayout(reader.keypoint_count, 3, names, mirrored(names))
    source.reason = f"Datumaro read it as {conversion.format}: {reader.items} items, and {source.images.labelled()} of {len(source.images)} images have labels"
    return source


class _Reader:
    """Reads the lines of one conversion."""

    def __init__(self, tree: SourceTree, source: DatumaroSource, items: Path) -> None:
        self.items = 0
        self.keypoint_count = 0
        self._tree = tree
        self._source = source
        self._path = items
        self._images = ListedImages(tree, source)
        self._annotations = AnnotationReader()

    def read(self) -> None:
        key, name, position = "", "", 0
        with self._path.open("rb") as stream:
            for number, line in json_lines(stream, self._tree.check):
                if isinstance(line, NotJson) or not isinstance(line, dict):
                    self._note(Code.MALFORMED_ANNOTATION, f"item {number} as Datumaro wrote it cannot be read")
                    continue
                if not (line.get("more") and key):
                    name, position = str(line.get("image") or ""), 0
                    key = self._images.key(name, self._source.format, split_of_folder(str(line.get("split") or "")))
                    self.items += 1
                annotations = line.get("annotations")
                for annotation in annotations if isinstance(annotations, list) else []:
                    position += 1
                    self._source.add(key, self._label(annotation, f"annotation {position} of {name[:_SHOWN]!r}"))
        self._images.finish(all_listed=True)

    def _note(self, code: Code, message: str) -> None:
        self._source.notes.add(code, message, self._source.format)

    def _label(self, annotation: Any, where: str) -> WrittenLabel:
        written = annotation if isinstance(annotation, dict) else {}
        try:
            label = self._read(written, lambda what: self._note(Code.OUTLINE_UNREAD, f"{where} {what}"))
        except Unusable as error:
            return WrittenLabel(problem=error.code, message=f"{where} {error}")
        if label.problem is not None:
            return label._replace(message=f"{where} {label.message}")
        if label.shape is Shape.KEYPOINTS:
            self.keypoint_count = max(self.keypoint_count, len(label.points) // 3)
        return label

    def _read(self, written: dict[str, Any], remark: Remark) -> WrittenLabel:
        if written.get("unsupported"):
            raise Unusable(Code.UNSUPPORTED_SHAPE, f"is a {str(written['unsupported'])[:_SHOWN]}, which no task here has labels of")
        if written.get("denied"):
            raise Unusable(Code.CLASS_DENIED, "says of its class that it is not in the picture")
        class_id = self._source.class_id(written.get("category"))
        if written.get("whole"):
            return WrittenLabel(class_id=class_id, shape=Shape.IMAGE)
        if (ellipse := written.get("ellipse")) is not None:
            left, top, right, bottom = _sides(ellipse)
            corners = ellipse_corners((left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2)
            return WrittenLabel(class_id=class_id, shape=Shape.POLYGON, points=corners)
        return self._annotations.read({**written, "segmentation": _outline(written.get("segmentation"))}, class_id, remark)


def _outline(written: Any) -> Any:
    """An outline as JSON has it where numbers are told apart: lines give every number as float, and a mask's size is whole ones."""
    size = written.get("size") if isinstance(written, dict) else None
    if not isinstance(size, list):
        return written
    return {**written, "size": [int(side) if isinstance(side, float) and side.is_integer() else side for side in size]}


def _sides(written: Any) -> tuple[float, ...]:
    numbers = [as_number(value) for value in written] if isinstance(written, list) else []
    known = tuple(number for number in numbers if number is not None)
    if len(known) != _SIDES or len(numbers) != _SIDES:
        raise Unusable(Code.MALFORMED_LABEL, "is an ellipse without four sides that are numbers")
    return known
