"""Reads the structure of a Pascal VOC source: ``Annotations/*.xml``, ``JPEGImages``, ``ImageSets/Main``, or XML files anywhere near their images."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.labelled import MAX_CLASSES, LabelledSource, split_of_path
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.matching import kinship
from visionyard.dataset.formats.shapes import LabelRow, WrittenLabel
from visionyard.dataset.formats.staged import SourceImage
from visionyard.dataset.formats.voc_labelmap import read_labelmap
from visionyard.dataset.formats.voc_sets import set_splits
from visionyard.dataset.formats.voc_xml import NotVoc, VocAnnotation, VocObject, parse_voc
from visionyard.dataset.source import SourceTree, stem_of

_MASK_FOLDERS = ("segmentationclass", "segmentationobject", "masks")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def find_voc(tree: SourceTree) -> list[Labelling]:
    """The VOC labelling of a source, told by the first XML file that is an annotation of VOC's; LabelMe's begin alike but hold polygons.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    for path in tree.each_text("xml"):
        tree.check()
        try:
            annotation = parse_voc(path, tree.read(path))
        except NotVoc:
            continue
        if annotation.objects and not any(item.corners for item in annotation.objects):
            continue
        return [Labelling("voc", posixpath.dirname(path) or path, lambda: read_voc(tree))]
    return []


class VocSource(LabelledSource):
    """A VOC source. Build it with :func:`read_voc`.

    Objects marked ``difficult`` are kept, and listed: the mark was made for VOC's own evaluation, which neither rewards nor punishes them, and most tools that
    write VOC set it without a thought. Whoever trains on VOC as Ultralytics' ``VOC.yaml`` does, which leaves them out, learns from the report that they are there.
    """

    format = "voc"

    def __init__(self, tree: SourceTree) -> None:
        super().__init__(tree.staging)
        self._tree = tree
        self._classes = NamedClasses(read_labelmap(tree))

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """See :meth:`LabelledSource.rows`."""
        try:
            annotation = parse_voc(labels, self._tree.read(labels))
        except NotVoc as error:
            self.notes.add(Code.MALFORMED_ANNOTATION, f"{labels} cannot be read: {error}; its image was kept without labels", labels)
            return
        self._compare_size(labels, annotation, width, height)
        for item in annotation.objects:
            yield self._label(item).row(width, height)

    def _compare_size(self, path: str, annotation: VocAnnotation, width: int, height: int) -> None:
        if all(annotation.size) and width and annotation.size != (width, height):
            written = f"{annotation.size[0]} x {annotation.size[1]}"
            self.notes.add(Code.SIZE_MISMATCH, f"{path} was written for a picture of {written} pixels, but it has {width} x {height}", path)

    def _label(self, item: VocObject) -> WrittenLabel:
        if not item.name:
            return WrittenLabel(item.line, Code.MALFORMED_LABEL, "is an object without a name")
        try:
            box = tuple(float(item.corners[corner]) for corner in _CORNERS)
        except (KeyError, ValueError):
            return WrittenLabel(item.line, Code.MALFORMED_LABEL, f"is a {item.name[:60]!r} without a whole bndbox of numbers")
        class_id = self._classes.id_of(item.name)
        if class_id is None:
            return WrittenLabel(item.line, Code.UNKNOWN_CLASS, f"is of yet another class; no more than {MAX_CLASSES} are read")
        return WrittenLabel(item.line, class_id=class_id, box=box, note=Code.DIFFICULT_KEPT if item.difficult else None)

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`: as a labelmap.txt orders them, others in alphabetical order, so that they don't depend on the order of files."""
        return self._classes.names()

    def final_class_ids(self) -> list[int]:
        """See :meth:`LabelledSource.final_class_ids`."""
        return self._classes.final_ids()


def read_voc(tree: SourceTree) -> VocSource:
    """Reads a VOC source's structure.

    Args:
        tree: The source.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    source = VocSource(tree)
    count = _match(tree, source)
    folders = {folder for (folder,) in tree.staging.query("SELECT DISTINCT folder FROM files JOIN voc ON files.path = voc.image")}
    members = [folder for folder in tree.image_folders() if folder in folders and not _is_mask(f"{folder}/")]
    splits = set_splits(tree, lambda image: not _is_mask(image) and (not members or posixpath.dirname(image) in folders), source.notes)
    for image in tree.images():
        if _is_mask(image) or (members and posixpath.dirname(image) not in folders):
            continue
        split = splits.of(image) if splits else split_of_path(image, "")
        annotation = tree.staging.one("SELECT path FROM voc WHERE image = ?", (image,))
        taken = SourceImage(image, split or "", annotation[0] if annotation else "")
        (source.left_out if split is None else source.images).append(taken)
    source.reason = f"{count} XML files are Pascal VOC annotations, and {source.images.labelled()} of {len(source.images)} images have one"
    return source


def _is_mask(image: str) -> bool:
    return any(f"/{folder}/" in f"/{image.lower()}" for folder in _MASK_FOLDERS)


def _match(tree: SourceTree, source: VocSource) -> int:
    """Finds the image of each annotation (the table ``voc``): that of its stem, else the one that its ``<filename>`` names, whatever case and extension."""
    staging, count = tree.staging, 0
    staging.run("DROP TABLE IF EXISTS voc")
    staging.run("CREATE TABLE voc (image TEXT PRIMARY KEY, path TEXT) WITHOUT ROWID")
    for path in tree.each_text("xml"):
        tree.check()
        count += 1
        candidates, name = _pictures(tree, stem_of(path)), ""
        if not candidates:
            try:
                name = parse_voc(path, tree.read(path)).filename.replace("\\", "/")
            except NotVoc:
                source.notes.add(Code.MALFORMED_ANNOTATION, f"{path} is no Pascal VOC annotation and belongs to no image", path)
                continue
            candidates = _pictures(tree, stem_of(name))
        free = [image for image in candidates if staging.one("SELECT 1 FROM voc WHERE image = ?", (image,)) is None]
        if free:
            staging.run("INSERT INTO voc VALUES (?, ?)", (max(free, key=lambda image: (kinship(path, image), image)), path))
        else:
            source.orphans.append(SourceImage(posixpath.basename(name), labels=path))
    return count


def _pictures(tree: SourceTree, stem: str) -> list[str]:
    return [image for image in tree.images_called(stem) if not _is_mask(image)]
