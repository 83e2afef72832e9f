"""Reads the structure of a Pascal VOC source: ``Annotations/*.xml``, ``JPEGImages``, ``ImageSets/Main``, or XML files anywhere near their images."""

from __future__ import annotations

import math
import posixpath
from collections import defaultdict
from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.labelled import MAX_CLASSES, LabelledSource, LabelRow, SourceImage, clean_class_name, split_of_path
from visionyard.dataset.formats.voc_sets import set_splits
from visionyard.dataset.formats.voc_xml import NotVoc, VocAnnotation, VocObject, parse_voc
from visionyard.dataset.source import SourceTree, stem_of

_SNIFFED = 50
_MASK_FOLDERS = ("segmentationclass", "segmentationobject", "masks")


def find_annotations(tree: SourceTree) -> list[str]:
    """The XML files of a source if they are VOC's, told by the first readable one; empty otherwise.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    paths = tree.texts("xml")
    for path in paths[:_SNIFFED]:
        try:
            parse_voc(path, tree.read(path))
        except NotVoc:
            continue
        return paths
    return []


class VocSource(LabelledSource):
    """A VOC source. Build it with :func:`read_voc`.

    Objects marked ``difficult`` are kept, and listed: the mark was made for VOC's own evaluation, which neither rewards nor punishes them, and most tools that
    write VOC set it without a thought. Whoever trains on VOC as Ultralytics' ``VOC.yaml`` does, which leaves them out, learns from the report that they are there.
    """

    format = "voc"

    def __init__(self, tree: SourceTree) -> None:
        super().__init__()
        self._tree = tree
        self._ids: dict[str, int] = {}

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """See :meth:`LabelledSource.rows`. Class ids are given as names come up; :meth:`final_class_id` sorts them."""
        try:
            annotation = parse_voc(labels, self._tree.read(labels))
        except NotVoc as error:
            self.notes.add(Code.MALFORMED_ANNOTATION, f"{labels} cannot be read: {error}; its image was kept without labels", labels)
            return
        self._compare_size(labels, annotation, width, height)
        for item in annotation.objects:
            yield self._row(item, width, height)

    def _compare_size(self, path: str, annotation: VocAnnotation, width: int, height: int) -> None:
        if all(annotation.size) and width and annotation.size != (width, height):
            written = f"{annotation.size[0]} x {annotation.size[1]}"
            self.notes.add(Code.SIZE_MISMATCH, f"{path} was written for a picture of {written} pixels, but it has {width} x {height}", path)

    def _row(self, item: VocObject, width: int, height: int) -> LabelRow:
        if not item.name:
            return LabelRow(item.line, Code.MALFORMED_LABEL, "is an object without a name")
        try:
            left, top, right, bottom = (float(item.corners[corner]) for corner in ("xmin", "ymin", "xmax", "ymax"))
        except (KeyError, ValueError):
            return LabelRow(item.line, Code.MALFORMED_LABEL, f"is a {item.name[:60]!r} without a whole bndbox of numbers")
        if not all(map(math.isfinite, (left, top, right, bottom))):
            return LabelRow(item.line, Code.NOT_A_NUMBER, "holds a coordinate that is not a finite number")
        if item.name not in self._ids and len(self._ids) >= MAX_CLASSES:
            return LabelRow(item.line, Code.UNKNOWN_CLASS, f"is of yet another class; no more than {MAX_CLASSES} are read")
        class_id = self._ids.setdefault(item.name, len(self._ids))
        # A picture that cannot be read has no size; its labels are only counted.
        wide, high = width or 1, height or 1
        return LabelRow(
            item.line,
            class_id=class_id,
            cx=(left + right) / 2 / wide,
            cy=(top + bottom) / 2 / high,
            w=(right - left) / wide,
            h=(bottom - top) / high,
            note=Code.DIFFICULT_KEPT if item.difficult else None,
        )

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`: in alphabetical order, so that they don't depend on the order of files."""
        return tuple(clean_class_name(name, i) for i, name in enumerate(sorted(self._ids)))

    def final_class_id(self, class_id: int) -> int:
        """See :meth:`LabelledSource.final_class_id`."""
        return sorted(self._ids).index(list(self._ids)[class_id])


def read_voc(tree: SourceTree, annotations: list[str]) -> VocSource:
    """Reads a VOC source's structure.

    Args:
        tree: The source.
        annotations: Its annotation files.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    source = VocSource(tree)
    images = [path for path in tree.images if not any(f"/{folder}/" in f"/{path.lower()}" for folder in _MASK_FOLDERS)]
    by_image = _match(tree, annotations, images, source)
    folders = {posixpath.dirname(image) for image in by_image}
    members = [image for image in images if posixpath.dirname(image) in folders] or images
    splits = set_splits(tree, members, source.notes)
    for image in members:
        taken = SourceImage(image, splits.get(image, "") if splits else split_of_path(image, ""), by_image.get(image, ""))
        (source.left_out if splits and image not in splits else source.images).append(taken)
    labelled = sum(1 for image in source.images if image.labels)
    source.reason = f"{len(annotations)} XML files are Pascal VOC annotations, and {labelled} of {len(source.images)} images have one"
    return source


def _match(tree: SourceTree, annotations: list[str], images: list[str], source: VocSource) -> dict[str, str]:
    """The annotation of each image: the XML of its stem, else the one whose ``<filename>`` names it, whatever case and extension."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for image in images:
        by_stem[stem_of(image).lower()].append(image)
    matched: dict[str, str] = {}
    for path in annotations:
        tree.check()
        candidates = by_stem.get(stem_of(path).lower(), [])
        if not candidates:
            try:
                candidates = by_stem.get(stem_of(parse_voc(path, tree.read(path)).filename.replace("\\", "/")).lower(), [])
            except NotVoc:
                source.notes.add(Code.MALFORMED_ANNOTATION, f"{path} is no Pascal VOC annotation and belongs to no image", path)
                continue
        free = [image for image in candidates if image not in matched]
        if free:
            matched[max(free, key=lambda image: (_kinship(path, image), image))] = path
        else:
            source.orphans.append(path)
    return matched


def _kinship(one: str, other: str) -> int:
    """How many leading folders two paths share."""
    count = 0
    for a, b in zip(one.split("/")[:-1], other.split("/")[:-1], strict=False):
        if a != b:
            break
        count += 1
    return count
