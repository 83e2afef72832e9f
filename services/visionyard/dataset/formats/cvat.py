"""Reads CVAT's own format (version 1.1, for images and for video): which images its files list, with their splits and labels.

Exports of tasks, jobs and projects are read, also several of them side by side as one labelling. The images are those that the files list: CVAT lists every image of a task, so
one without shapes is background, and one that lies beside them unlisted is no part of the set. Splits come from CVAT's subsets, else from folders.

Labels that a model drew and nobody changed (``source="auto"``) count as persons' labels, and are counted in the report: whoever exports from CVAT has had them before
their eyes, and deleted what was wrong. That is how a version that was downloaded with predictions, reviewed and imported again becomes trainable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.cvat_shapes import CvatLabels
from visionyard.dataset.formats.cvat_xml import MAX_KEYPOINTS, CvatImage, CvatMeta, CvatShape, read_items, read_meta
from visionyard.dataset.formats.labelled import MAX_CLASSES, LabelledSource, UnreadLabels, split_of_folder, split_of_path
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.matching import ImageMatcher, agreement, means_another
from visionyard.dataset.formats.shapes import LabelRow, Shape, WrittenLabel
from visionyard.dataset.formats.staged import LabelSpool, SourceImage
from visionyard.dataset.formats.xml_reader import NotXml
from visionyard.dataset.source import SourceTree, stem_of
from visionyard.kit.artifacts.dataset import KeypointLayout

_FRAME = re.compile(r"frame_\d+", re.IGNORECASE)
"""What CVAT calls a video's pictures."""
_ROOT = b"<annotations"
_HEAD_BYTES = 4096
_MAX_NAME = 4096
_SHOWN = 100
_DIMENSIONS = 3
_LABELS_AT_ONCE = 1000


def find_cvat(tree: SourceTree) -> list[Labelling]:
    """The CVAT labelling of a source, told by an XML file whose root is ``<annotations>`` and has a ``<meta>``, ``<image>`` or ``<track>`` in it.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    for path, _ in _files(tree):
        return [Labelling("cvat", path, lambda: read_cvat(tree))]
    return []


def _files(tree: SourceTree) -> Iterator[tuple[str, CvatMeta]]:
    """The CVAT files of a source, sorted, with what each says about itself."""
    for path in tree.each_text("xml"):
        tree.check()
        with tree.open(path) as stream:
            if _ROOT not in stream.peek(_HEAD_BYTES)[:_HEAD_BYTES].replace(b"\0", b""):  # no matter whether it is UTF-8 or UTF-16
                continue
            meta = read_meta(stream, path)
        if meta is not None:
            yield path, meta


class CvatSource(LabelledSource):
    """A CVAT source. Build it with :func:`read_cvat`.

    Attributes:
        spool: The labels of all files.
        cut_off: Whether images stand in the table ``cvat`` of whose shapes some may be lost, as their file is damaged.
    """

    format = "cvat"

    def __init__(self, tree: SourceTree, classes: NamedClasses, labels: CvatLabels) -> None:
        super().__init__(tree.staging)
        self.cut_off = False
        self._staging = tree.staging
        self.spool = LabelSpool(tree.staging)
        self._classes = classes
        self._labels = labels

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """See :meth:`LabelledSource.rows`; of an image that is listed several times all its labels."""
        lost = "SELECT 1 FROM cvat WHERE lost AND (key = ?1 OR image = (SELECT image FROM cvat WHERE key = ?1)) LIMIT 1"
        if self.cut_off and self._staging.one(lost, (labels,)):
            raise UnreadLabels("it is damaged where the image's shapes stand")
        keypoints = len(self._labels.keypoints) * _DIMENSIONS
        for key, name, wide, high in self._staging.query(
            "SELECT key, name, width, height FROM cvat WHERE key = ?1 "
            "UNION ALL SELECT key, name, width, height FROM cvat WHERE image = (SELECT image FROM cvat WHERE key = ?1) AND key != ?1",
            (labels,),
        ):
            file = self.file_of(key)
            size = self.size_of_labels(f"{file} has {name[:_SHOWN]!r} as", file, (wide, high), (width, height))
            for row in self.spool.rows(key, *size):
                # Keypoints that came up after this skeleton are not there in it.
                missing = keypoints - len(row.points) if row.shape is Shape.KEYPOINTS else 0
                yield row._replace(points=row.points + (0.0,) * missing) if missing else row

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`: those that the files declare, in their order, then others in alphabetical order."""
        return self._classes.names()

    def final_class_ids(self) -> list[int]:
        """See :meth:`LabelledSource.final_class_ids`."""
        return self._classes.final_ids()


class _Listing:
    """Takes what one file lists.

    The table ``cvat`` holds each listed image or frame once, under a key of file and number; ``image`` is the one in the source that is meant, or NULL.

    Args:
        tree: The source.
        file: The file.
        subset: Of the images for which it tells none.
        labels: Makes labels of shapes.
        spool: Takes the labels.
    """

    def __init__(self, tree: SourceTree, file: str, subset: str, labels: CvatLabels, spool: LabelSpool) -> None:
        self.by_model = 0
        self._tree = tree
        self._file = file
        self._subset = subset
        self._labels = labels
        self._spool = spool
        self._matcher = ImageMatcher(tree)
        self._count = 0
        self._key = ""
        self._under_way = self._has_frames = False
        self._waiting: list[tuple[str, WrittenLabel]] = []

    def image(self, image: CvatImage) -> None:
        """See :class:`~.cvat_xml.Sink`."""
        self._tree.check()
        staging = self._tree.staging
        self._under_way = image.frame < 0
        self._has_frames |= image.frame >= 0
        if image.frame < 0:
            self._key = f"{self._file}#{self._count}"
            self._count += 1
        else:
            self._key = f"{self._file}#{image.task[:_SHOWN].replace('#', '')}:{image.frame}"
            if staging.one("SELECT 1 FROM cvat WHERE key = ?", (self._key,)):
                return
        subset, name = (image.subset or self._subset)[:_MAX_NAME], image.name[:_MAX_NAME]
        # A project's images lie in folders of their subsets, which tells those of one name apart.
        whole = f"{subset}/{name}" if subset else name
        found = self._matcher.find(whole, self._file) if name else None
        split = split_of_folder(subset) or split_of_path(found or name, "") or split_of_path(self._file, "")
        staging.run(
            "INSERT INTO cvat VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            (self._key, found, name, split, image.width, image.height, image.frame >= 0, whole),
        )

    def shape(self, shape: CvatShape) -> None:
        """Likewise."""
        label = self._labels.written(shape)
        self.by_model += shape.by_model and label.problem is None
        self._waiting.append((self._key, label))
        if len(self._waiting) >= _LABELS_AT_ONCE:
            self.flush()

    def image_ends(self) -> None:
        """Likewise."""
        self._under_way = False

    def cut_off(self) -> bool:
        """The rest of the file cannot be read: says whether shapes of what was listed may be lost with it, and marks what they may be of.

        Those are the image under way, and all frames: a video's tracks stand one after the other.
        """
        staging = self._tree.staging
        if self._under_way:
            staging.run("UPDATE cvat SET lost = 1 WHERE key = ?", (self._key,))
        if self._has_frames:
            staging.run("UPDATE cvat SET lost = 1 WHERE frame AND key > ? AND key < ?", (f"{self._file}#", f"{self._file}$"))  # $ follows #
        return self._under_way or self._has_frames

    def flush(self) -> None:
        """Puts down the labels that were taken."""
        self._tree.check()
        self._spool.add_all(self._waiting)
        self._waiting.clear()


def read_cvat(tree: SourceTree) -> CvatSource:
    """Reads a CVAT source: every CVAT file in it.

    Args:
        tree: The source.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    staging = tree.staging
    staging.run("DROP TABLE IF EXISTS cvat")
    staging.run(
        "CREATE TABLE cvat (key TEXT PRIMARY KEY, image TEXT, name TEXT, split TEXT, width INT, height INT, frame INT, whole TEXT, lost INT)"
    )
    staging.run("CREATE INDEX cvat_by_image ON cvat (image)")
    staging.run("DROP TABLE IF EXISTS cvat_files")
    staging.run("CREATE TABLE cvat_files (path TEXT, subset TEXT)")
    declared, points = dict[str, None](), dict[str, None]()
    for path, meta in _files(tree):
        staging.run("INSERT INTO cvat_files VALUES (?, ?)", (path, meta.subset))
        declared.update(dict.fromkeys(meta.labels[: MAX_CLASSES - len(declared)]))
        points.update(dict.fromkeys(name for names in meta.points.values() for name in names[: MAX_KEYPOINTS - len(points)]))
    classes = NamedClasses(declared)
    source = CvatSource(tree, classes, labels := CvatLabels(classes, list(points)))
    for path, subset in staging.query("SELECT path, subset FROM cvat_files ORDER BY path"):
        _read_file(tree, path, subset, source, labels)
    _take(tree, source)
    if names := labels.keypoints:
        source.keypoints = KeypointLayout(len(names), _DIMENSIONS, names)
    count = staging.one("SELECT COUNT(*) FROM cvat_files")
    files = f"{count[0]} CVAT files list" if count and count[0] > 1 else f"{path} is CVAT's and lists"
    source.reason = (
        f"{files} {len(source.images) + len(source.orphans)} images, of which {source.images.labelled()} are there and have labels"
    )
    return source


def _read_file(tree: SourceTree, path: str, subset: str, source: CvatSource, labels: CvatLabels) -> None:
    listing = _Listing(tree, path, subset, labels, source.spool)
    try:
        with tree.open(path) as stream:
            read_items(stream, path, listing, tree.check)
    except NotXml as error:
        source.notes.add(Code.MALFORMED_ANNOTATION, f"{path} cannot be read to its end: {error}; what is whole before that was taken", path)
        source.cut_off |= listing.cut_off()
    listing.flush()
    if listing.by_model:
        message = f'{path} has {listing.by_model} labels that a model drew (source="auto") and nobody changed in CVAT; they count as persons\' labels'
        source.notes.add(Code.PREDICTED, message, path)


def _part(tree: SourceTree) -> None:
    """Of several names that lead to one image, those that mean another lead nowhere."""
    several = "SELECT image FROM cvat WHERE image IS NOT NULL GROUP BY image HAVING COUNT(DISTINCT whole) > 1"
    for (image,) in list(tree.staging.query(several)):
        tree.check()
        names = [name for (name,) in tree.staging.query("SELECT DISTINCT whole FROM cvat WHERE image = ?", (image,))]
        nearest = max(names, key=lambda name: agreement(name, image))
        for name in names:
            if means_another(name, nearest, image):
                tree.staging.run("UPDATE cvat SET image = NULL WHERE image = ? AND whole = ?", (image, name))


def _take(tree: SourceTree, source: CvatSource) -> None:
    """Tells the source of its images, those left out, and labels without images."""
    staging = tree.staging
    _part(tree)
    for key, image, name, split, labelled, first in staging.query(
        "SELECT key, image, name, split, lost OR EXISTS (SELECT 1 FROM spool WHERE spool.key = c.key), "
        "image IS NULL OR rowid = (SELECT MIN(rowid) FROM cvat WHERE image = c.image) FROM cvat c ORDER BY rowid"
    ):
        tree.check()
        file = key.rpartition("#")[0]
        if not first:
            source.notes.add(Code.IMAGE_NAMED_TWICE, f"{file} lists {image}, which was listed before; the labels were put together", file)
        elif image is not None:
            again = "SELECT 1 FROM cvat c WHERE image = ? AND (lost OR EXISTS (SELECT 1 FROM spool WHERE spool.key = c.key)) LIMIT 1"
            source.images.append(SourceImage(image, split, key if labelled or staging.one(again, (image,)) else "", stated=file))
        elif labelled:
            source.orphans.append(SourceImage(name, labels=key))
        else:
            source.notes.add(Code.LISTED_IMAGE_MISSING, f"{file} lists {name[:_SHOWN]!r}, which is not there and has no labels", file)
    folders = "SELECT DISTINCT f.folder FROM cvat c JOIN files f ON f.path = c.image"
    frames = staging.one("SELECT MAX(lost) FROM cvat WHERE frame AND image IS NOT NULL") == (0,)
    for (image,) in staging.query(
        f"SELECT path FROM files WHERE image AND folder IN ({folders}) AND path NOT IN (SELECT image FROM cvat WHERE image IS NOT NULL) ORDER BY path"  # noqa: S608 - both parts are written here
    ):
        tree.check()
        # A file of a video names only the frames in which something is to be seen; a damaged one not even all of these.
        background = frames and _FRAME.fullmatch(stem_of(image))
        (source.images if background else source.left_out).append(SourceImage(image, split_of_path(image, "")))
