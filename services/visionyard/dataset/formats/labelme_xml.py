"""Reads LabelMe 3.0: an XML file an image, with polygons, boxes and masks.

Parts (``<parts>``) stay objects of their own: in LabelMe a wheel is part of a car. Of a mask, which is a picture in the folder ``Masks``, the box is taken.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.labelled import MAX_CLASSES, LabelledSource, UnreadLabels
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.labelme_annotation import LabelmeAnnotation, LabelmeObject, OtherXml, parse_labelme_xml
from visionyard.dataset.formats.per_image import ImageFile, take_files
from visionyard.dataset.formats.shapes import LabelRow, Shape, WrittenLabel, enclosing, rotated_corners
from visionyard.dataset.formats.xml_reader import NotXml
from visionyard.dataset.source import SourceTree, stem_of

_MARKS = re.compile(rb"<(imagesize|polygon|segm)[\s/>]")  # Pascal VOC has <segmented>
_HEAD_BYTES = 4096
_MAX_BYTES = 8 << 20
"""A larger annotation file is not read."""
_ROTATION = re.compile(r"(?:\A|,)\s*rotation\s*=\s*(-?\d{1,6}(?:\.\d{1,20})?)\s*(?:,|\Z)")
_BOX = ("xmin", "ymin", "xmax", "ymax")
_TRIANGLE = 6
_SHOWN = 60


def find_labelme_xml(tree: SourceTree) -> list[Labelling]:
    """The LabelMe labelling of a source, told by the first XML file that has an ``<imagesize>``, or objects with polygons or masks, in an ``<annotation>``.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    for path in _likely(tree):
        try:
            _read(tree, path, brief=True)
        except NotXml:
            continue
        return [Labelling("labelme3", posixpath.dirname(path) or path, lambda: read_labelme_xml(tree))]
    return []


def _likely(tree: SourceTree) -> Iterator[str]:
    """The XML files whose beginning may be that of a LabelMe annotation; of Pascal VOC's no more than the beginning is looked at."""
    for path in tree.each_text("xml"):
        tree.check()
        if _is_likely(tree, path):
            yield path


def _is_likely(tree: SourceTree, path: str) -> bool:
    with tree.open(path) as stream:
        head = stream.peek(_HEAD_BYTES)[:_HEAD_BYTES].replace(b"\0", b"")  # UTF-16 has them between the characters
    return b"<annotation" in head and _MARKS.search(head) is not None


def _read(tree: SourceTree, path: str, *, brief: bool = False) -> LabelmeAnnotation:
    """Reads an annotation file, or only its beginning; raises NotXml, and YardError: ANNOTATION_BOMB."""
    if tree.size(path) > _MAX_BYTES:
        raise NotXml(f"it has more than {_MAX_BYTES} bytes")
    return parse_labelme_xml(path, tree.read(path), brief=brief)


class LabelmeXmlSource(LabelledSource):
    """A LabelMe 3.0 source. Build it with :func:`read_labelme_xml`."""

    format = "labelme3"
    file_each = True

    def __init__(self, tree: SourceTree) -> None:
        super().__init__(tree.staging)
        self._tree = tree
        self._classes = NamedClasses()

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """See :meth:`LabelledSource.rows`."""
        try:
            annotation = _read(self._tree, labels)
        except NotXml as error:
            raise UnreadLabels(error) from error
        size = self.size_of_labels(f"{labels} was written for", labels, annotation.size, (width, height))
        for item in annotation.objects:
            yield self._label(item).row(*size)

    def _label(self, item: LabelmeObject) -> WrittenLabel:
        what = f"{item.name[:_SHOWN]!r}"
        if item.deleted:
            return WrittenLabel(item.line, Code.DELETED_LABEL, f"is a {what} that was deleted")
        if not item.name:
            return WrittenLabel(item.line, Code.MALFORMED_LABEL, "is an object without a name")
        if item.shape != "polygon" and not item.box:
            return WrittenLabel(item.line, Code.UNSUPPORTED_SHAPE, f"is a {what} without a polygon or box")
        class_id = self._classes.id_of(item.name)
        if class_id is None:
            return WrittenLabel(item.line, Code.UNKNOWN_CLASS, f"is of yet another class; no more than {MAX_CLASSES} are read")
        try:
            return _mask(item, class_id) if item.shape != "polygon" else _polygon(item, class_id)
        except (KeyError, ValueError):
            return WrittenLabel(item.line, Code.MALFORMED_LABEL, f"is a {what} without all its numbers")

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`: in alphabetical order, as LabelMe has no list of them."""
        return self._classes.names()

    def final_class_ids(self) -> list[int]:
        """See :meth:`LabelledSource.final_class_ids`."""
        return self._classes.final_ids()


def _mask(item: LabelmeObject, class_id: int) -> WrittenLabel:
    """The box that is written beside a mask; its pixels are counted from their left upper corners, so the last one's width belongs to it."""
    left, top, right, bottom = (float(item.box[corner]) for corner in _BOX)
    return WrittenLabel(item.line, class_id=class_id, box=(left, top, right + 1, bottom + 1), note=Code.MASK_AS_BOX)


def _polygon(item: LabelmeObject, class_id: int) -> WrittenLabel:
    """A polygon, or the box that its corners are of, turned by ``rotation`` degrees clockwise where that is written; raises ValueError."""
    points = tuple(map(float, item.points))
    if len(points) % 2 or len(points) < _TRIANGLE:
        raise ValueError(len(points))
    if item.kind != "bounding_box":
        return WrittenLabel(item.line, class_id=class_id, shape=Shape.POLYGON, points=points)
    if not all(map(math.isfinite, points)):  # the smallest and largest of numbers pass over what is none
        return WrittenLabel(item.line, Code.NOT_A_NUMBER, "holds a coordinate that is not a finite number")
    box = left, top, right, bottom = enclosing(points)
    written = _ROTATION.search(item.attributes)
    degrees = float(written[1]) if written else 0.0
    if not degrees % 360:
        return WrittenLabel(item.line, class_id=class_id, box=box)
    corners = rotated_corners((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, degrees)
    return WrittenLabel(item.line, class_id=class_id, shape=Shape.ROTATED, points=corners)


def read_labelme_xml(tree: SourceTree) -> LabelmeXmlSource:
    """Reads a LabelMe 3.0 source's structure.

    Args:
        tree: The source.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    source = LabelmeXmlSource(tree)
    count = take_files(tree, source, _files(tree, source))
    source.reason = f"{count} XML files are LabelMe annotations, and {source.images.labelled()} of {len(source.images)} images have one"
    return source


def _files(tree: SourceTree, source: LabelmeXmlSource) -> Iterator[ImageFile]:
    """The annotation files of the source; also those of an image that are damaged: they are its all the same. What else cannot be read is listed."""
    for path in tree.each_text("xml"):
        try:
            annotation = _read(tree, path, brief=True)
        except OtherXml as error:
            if tree.images_called(stem_of(path)):
                source.notes.add(Code.MALFORMED_ANNOTATION, f"{path} is no annotation of LabelMe's: {error}", path)
            continue
        except NotXml as error:
            if tree.images_called(stem_of(path)):
                yield ImageFile(path, "", labelled=False, damaged=True)
            elif _is_likely(tree, path):
                message = f"{path} cannot be read: {error}; which image it belongs to is not known"
                source.notes.add(Code.MALFORMED_ANNOTATION, message, path)
            continue
        yield ImageFile(path, annotation.image, bool(annotation.objects))
