"""Reads the structure of a Pascal VOC source: ``Annotations/*.xml``, ``JPEGImages``, ``ImageSets/Main``, or XML files anywhere near their images."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.labelled import MAX_CLASSES, LabelledSource, UnreadLabels, split_of_path
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.matching import agreement, kinship
from visionyard.dataset.formats.shapes import LabelRow, WrittenLabel
from visionyard.dataset.formats.staged import SourceImage
from visionyard.dataset.formats.voc_labelmap import read_labelmap
from visionyard.dataset.formats.voc_sets import set_splits
from visionyard.dataset.formats.voc_xml import NotVoc, VocObject, parse_voc
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
    file_each = True

    def __init__(self, tree: SourceTree) -> None:
        super().__init__(tree.staging)
        self._tree = tree
        self._classes = NamedClasses(read_labelmap(tree))

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """See :meth:`LabelledSource.rows`."""
        try:
            annotation = parse_voc(labels, self._tree.read(labels))
        except NotVoc as error:
            raise UnreadLabels(error) from error
        size = self.size_of_labels(f"{labels} was written for", labels, annotation.size, (width, height))
        for item in annotation.objects:
            yield self._label(item).row(*size)

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
    """Finds the image of each annotation (the table ``voc``); of several annotations of one image the nearest counts. Returns how many annotations there are."""
    staging, count = tree.staging, 0
    staging.run("DROP TABLE IF EXISTS voc_claims")
    staging.run("CREATE TABLE voc_claims (image TEXT, path TEXT, agreement INT, kinship INT)")
    for path in tree.each_text("xml"):
        tree.check()
        count += 1
        try:
            image, name = _image_of(tree, path)
        except NotVoc:
            source.notes.add(Code.MALFORMED_ANNOTATION, f"{path} is no Pascal VOC annotation and belongs to no image", path)
            continue
        if image is None:
            source.orphans.append(SourceImage(posixpath.basename(name), labels=path))
        else:
            staging.run("INSERT INTO voc_claims VALUES (?, ?, ?, ?)", (image, path, agreement(path, image), kinship(path, image)))
    staging.run("DROP TABLE IF EXISTS voc")
    staging.run("CREATE TABLE voc (image TEXT PRIMARY KEY, path TEXT) WITHOUT ROWID")
    staging.run("INSERT OR IGNORE INTO voc SELECT image, path FROM voc_claims ORDER BY agreement DESC, kinship DESC, path")
    beaten = "SELECT c.path, c.image, v.path FROM voc_claims c JOIN voc v ON v.image = c.image WHERE c.path != v.path ORDER BY c.path"
    for path, image, nearer in staging.query(beaten):
        message = f"{path} is called as {image} is, to which {nearer} lies nearer; only the labels of that file were taken"
        source.notes.add(Code.IMAGE_NAMED_TWICE, message, path)
        source.orphans.append(SourceImage(posixpath.basename(image), labels=path))
    return count


def _image_of(tree: SourceTree, path: str) -> tuple[str | None, str]:
    """The image of an annotation: that of its stem, else the one that its ``<filename>`` names, whatever case and extension.

    Of several the one whose folders agree most counts (those right above it, as in ``Annotations/clip7`` and ``JPEGImages/clip7``, then the outer ones), then
    the one of just that ``<filename>``.

    Returns:
        The image, None where there is none or several fit alike; and the name that a message calls it by, as far as it had to be read.

    Raises:
        NotVoc: the name is needed, and the file is no annotation.
    """
    candidates, name = _nearest(tree, path, stem_of(path)), ""
    if len(candidates) != 1:
        name = parse_voc(path, tree.read(path)).filename.replace("\\", "/")
        candidates = candidates or _nearest(tree, path, stem_of(name))
        just_so = [image for image in candidates if posixpath.basename(image).lower() == posixpath.basename(name).lower()]
        candidates = just_so or candidates
    if len(candidates) > 1:
        return None, candidates[0]
    return candidates[0] if candidates else None, name


def _nearest(tree: SourceTree, path: str, stem: str) -> list[str]:
    """The pictures of a stem whose folders agree with a path's as much as any's do; several where they agree alike."""
    for images in tree.images_near(path.split("/")[:-1], stem):
        pictures = [image for image in images if not _is_mask(image)]
        if pictures:
            most = max(kinship(path, image) for image in pictures)
            return [image for image in pictures if kinship(path, image) == most]
    return []
