"""Reads COCO JSON (https://cocodataset.org/#format-data): ``annotations/instances_train2017.json`` beside folders of images, or one file in each split's folder (Roboflow).

An image that a file lists and no annotation is of is background. One that lies in the same folder as listed ones and is not listed itself is no part of the set: it is
left out, and said so.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterator
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.coco_annotations import AnnotationReader
from visionyard.dataset.formats.coco_categories import CocoCategories, key_of, printable
from visionyard.dataset.formats.coco_files import coco_files, split_of_file, split_word
from visionyard.dataset.formats.coco_source import CocoSource
from visionyard.dataset.formats.json_stream import NotJson, stream_members
from visionyard.dataset.formats.labelled import MAX_CLASSES, split_of_path
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.matching import ImageMatcher, agreement, means_another, written_path
from visionyard.dataset.formats.shapes import Shape, WrittenLabel
from visionyard.dataset.formats.staged import LabelSpool, SourceImage
from visionyard.dataset.source import SourceTree
from visionyard.kit.errors import Reason, YardError

_MAX_NAME = 1000
_MAX_SIDE_PX = 1_000_000
_IMAGES_A_CHECK = 256
_NUMBERS_A_LABEL = 16
_MAX_WAITING_NUMBERS = 1 << 14
"""Labels are put down together, a few hundred boxes at once."""
_NAMES = ("file_name", "coco_url", "path")
"""Where an image's name stands; LVIS has only URLs."""


def find_coco(tree: SourceTree) -> list[Labelling]:
    """The COCO labellings of a source, each of one file or of one a split, told by the first image, category or annotation in it."""

    def labelling(files: list[str]) -> Labelling:
        return Labelling("coco", files[0], lambda: read_coco(tree, files))

    return [labelling(files) for files in coco_files(tree)]


def read_coco(tree: SourceTree, files: list[str]) -> CocoSource:
    """Reads a COCO labelling.

    Args:
        tree: The source.
        files: The labelling's files; of an image that several list the first tells the split.

    Raises:
        YardError: NO_LABELS where a file is damaged (images whose labels are missing would train as background) or holds captions only; CLASSES_UNKNOWN.
    """
    return _Reader(tree, files).read()


class _Reader:
    """Reads the files of one labelling into a :class:`CocoSource`."""

    def __init__(self, tree: SourceTree, files: list[str]) -> None:
        self._tree = tree
        self._staging = tree.staging
        self._files = files
        self._spool = LabelSpool(tree.staging)
        self._categories = CocoCategories()
        self._source = CocoSource(tree, self._categories)
        self._source.files = sorted(files, key=len, reverse=True)
        self._annotations = AnnotationReader()
        self._waiting: list[tuple[str, WrittenLabel]] = []
        self._waiting_numbers = 0
        self._captions = 0
        self._count = 0
        self._staging.run(
            "CREATE TABLE IF NOT EXISTS coco_images (key TEXT PRIMARY KEY, source TEXT, file INT, name TEXT, width INT, height INT, path TEXT) WITHOUT ROWID"
        )
        self._staging.run("CREATE INDEX IF NOT EXISTS coco_by_path ON coco_images (source, path, file)")

    def read(self) -> CocoSource:
        for number, path in enumerate(self._files):
            try:
                for key, item in stream_members(self._tree.open(path), self._tree.check):
                    self._take(number, path, key, item)
            except NotJson as error:
                raise YardError(Reason.NO_LABELS, f"{path} cannot be read to its end: {error}; export it again", {"file": path}) from error
        self._put_down()
        self._refuse_unusable()
        source = self._source
        source.keypoints = self._categories.keypoints()
        self._match()
        self._part()
        self._place()
        self._leave_out()
        self._find_orphans()
        source.reason = (
            f"{', '.join(self._files[:3])}{' and others' if len(self._files) > 3 else ''} in COCO's form: "  # noqa: PLR2004 - enough to recognise them
            f"{len(source.class_names())} classes, {self._count} annotations, and {source.images.labelled()} of {len(source.images)} images have some"
        )
        return source

    def _refuse_unusable(self) -> None:
        first = self._files[0]
        if self._categories.too_many:
            raise YardError(Reason.CLASSES_UNKNOWN, f"{first} declares more than {MAX_CLASSES} categories", {"file": first})
        if not self._count and self._captions:
            raise YardError(
                Reason.NO_LABELS, f"{first} holds captions only: neither boxes nor classes can be learnt from it", {"file": first}
            )
        if self._count and not len(self._categories):
            raise YardError(Reason.CLASSES_UNKNOWN, f"{first} declares no categories: export it with them", {"file": first})

    def _take(self, number: int, path: str, key: str, item: Any) -> None:
        if key == "images":
            self._take_image(number, path, item)
        elif key == "annotations":
            self._take_annotation(number, path, item)
        elif key == "categories" and not self._categories.declare(number, item) and not self._categories.too_many:
            self._note(Code.MALFORMED_ANNOTATION, f"has a category {_shown(item)} that is none, or whose id is taken", path)

    def _note(self, code: Code, message: str, path: str) -> None:
        self._source.notes.add(code, f"{path} {message}", path)

    def _take_image(self, number: int, path: str, item: Any) -> None:
        key = key_of(item.get("id")) if isinstance(item, dict) else None
        if key is None:
            self._note(Code.MALFORMED_ANNOTATION, "lists an image without an id; it was not taken", path)
            return
        name = printable(next((value for field in _NAMES if isinstance(value := item.get(field), str) and value), ""))[:_MAX_NAME]
        full = f"{path}#{key}"
        if self._staging.one("SELECT 1 FROM coco_images WHERE key = ?", (full,)):
            self._note(Code.MALFORMED_ANNOTATION, f"gives the image id {key} twice; {name!r} was not taken", path)
            return
        row = full, self._files[0], number, name, _side(item.get("width")), _side(item.get("height"))
        self._staging.run("INSERT INTO coco_images VALUES (?, ?, ?, ?, ?, ?, NULL)", row)

    def _take_annotation(self, number: int, path: str, item: Any) -> None:
        if isinstance(item, dict) and "caption" in item and not item.keys() & {"bbox", "segmentation", "keypoints"}:
            self._captions += 1
            return
        self._count += 1
        written = item if isinstance(item, dict) else {}
        image = key_of(written.get("image_id"))

        def remark(message: str) -> None:
            self._note(Code.OUTLINE_UNREAD, f"annotation {_shown(written.get('id'))} of image id {image} {message}", path)

        class_id = self._categories.meet(number, written.get("category_id"))
        if not written:
            label = WrittenLabel(problem=Code.MALFORMED_LABEL, message="is no annotation")
        else:
            label = self._annotations.read(written, class_id or 0, remark)
        if label.problem is None and class_id is None:
            label = WrittenLabel(
                problem=Code.UNKNOWN_CLASS, message=f"has the category {_shown(written.get('category_id'))}, which is none"
            )
        if label.problem is not None:
            label = label._replace(message=f"annotation {_shown(written.get('id'))} {label.message}")
        elif label.shape is Shape.KEYPOINTS:
            self._categories.meet_keypoints(len(label.points) // 3)
        self._waiting.append((f"{path}#{image or ''}", label))
        self._waiting_numbers += len(label.points) + _NUMBERS_A_LABEL
        if self._waiting_numbers > _MAX_WAITING_NUMBERS:
            self._put_down()

    def _put_down(self) -> None:
        self._spool.add_all(self._waiting)
        self._waiting.clear()
        self._waiting_numbers = 0

    def _match(self) -> None:
        """Finds the picture of each listed image."""
        matcher = ImageMatcher(self._tree)
        for path in self._files:
            word = split_word(path)
            for key, name in self._listed(path):
                # In two splits' folders there may be images of one name: the one in the folder that is called as the file's split is meant.
                found = matcher.find(name, path) or (matcher.find(f"{word}/{name}", path) if word and name else None)
                if found:
                    self._staging.run("UPDATE coco_images SET path = ? WHERE key = ?", (found, key))

    def _part(self) -> None:
        """Of several names that lead to one picture, those that say they mean another (of another folder, or another split's) lead nowhere.

        Such a picture is missing, and its labels must not be put on the one of that name which is there.
        """
        several = "SELECT path FROM coco_images WHERE source = ? AND path IS NOT NULL GROUP BY path HAVING COUNT(*) > 1 ORDER BY path"
        for (image,) in list(self._staging.query(several, (self._files[0],))):
            self._tree.check()
            listed = list(
                self._staging.query("SELECT key, name, file FROM coco_images WHERE source = ? AND path = ?", (self._files[0], image))
            )
            split = split_of_path(image, "")
            nearest = max((name for _, name, _ in listed), key=lambda name: agreement(written_path(name), image))
            strange = [split not in {"", told} and told != "" for told in (split_of_file(self._files[number]) for _, _, number in listed)]
            for (key, name, _), odd in zip(listed, strange, strict=True):
                if means_another(name, nearest, image) or (odd and not all(strange)):
                    self._staging.run("UPDATE coco_images SET path = NULL WHERE key = ?", (key,))

    def _listed(self, path: str) -> Iterator[tuple[str, str]]:
        """Key and name of a file's images, some at a time: the table changes meanwhile."""
        statement = "SELECT key, name FROM coco_images WHERE key > ? AND key < ? ORDER BY key LIMIT ?"
        last = f"{path}#"
        while rows := list(self._staging.query(statement, (last, _end(path), _IMAGES_A_CHECK))):
            self._tree.check()
            yield from rows
            last = rows[-1][0]

    def _place(self) -> None:
        """The images that are there; of one that is listed several times all labels count, and the first file tells the split."""
        labelled = "EXISTS (SELECT 1 FROM spool s WHERE s.key = c.key)"
        listed = self._staging.query(
            f"SELECT path, file, key, {labelled} FROM coco_images c WHERE source = ? AND path IS NOT NULL ORDER BY path, file, key",  # noqa: S608 - nothing of a user's in it
            (self._files[0],),
        )
        for count, (path, group) in enumerate(itertools.groupby(listed, key=lambda row: row[0])):
            if count % _IMAGES_A_CHECK == 0:
                self._tree.check()
            (_, number, first, has_labels), *others = group
            split = split_of_file(self._files[number]) or split_of_path(path, "")
            for _, other, key, also in others:
                has_labels |= also
                self._staging.run("UPDATE spool SET key = ? WHERE key = ?", (first, key))
                self._note_twice(path, self._files[number], self._files[other])
            self._source.images.append(SourceImage(path, split, first if has_labels else "", stated=self._files[number]))

    def _note_twice(self, image: str, file: str, other: str) -> None:
        splits = split_of_file(file), split_of_file(other)
        if all(splits) and splits[0] != splits[1]:
            self._source.notes.add(Code.SPLIT_LEAKAGE, f"{image} is listed in {file} and in {other}; it was kept in {splits[0]}", image)
        else:
            again = "twice" if file == other else f"and in {other} again"
            self._source.notes.add(Code.IMAGE_NAMED_TWICE, f"{image} is listed in {file} {again}", file)

    def _leave_out(self) -> None:
        """The images beside listed ones that are not listed."""
        statement = """SELECT path FROM files WHERE image
            AND folder IN (SELECT DISTINCT f.folder FROM coco_images c JOIN files f ON f.path = c.path WHERE c.source = ?)
            AND NOT EXISTS (SELECT 1 FROM coco_images c WHERE c.source = ? AND c.path = files.path) ORDER BY path"""
        for (path,) in self._staging.query(statement, (self._files[0], self._files[0])):
            self._source.left_out.append(SourceImage(path))

    def _find_orphans(self) -> None:
        """Labels of listed images that are not there, and of images that are not listed."""
        statement = """SELECT key, name, EXISTS (SELECT 1 FROM spool s WHERE s.key = c.key) FROM coco_images c
            WHERE source = ? AND path IS NULL ORDER BY key"""
        for key, name, has_labels in self._staging.query(statement, (self._files[0],)):
            self._tree.check()
            if has_labels:
                self._source.orphans.append(SourceImage(posixpath.basename(name), labels=key))
            else:
                self._note(Code.SPLIT_ENTRY_WITHOUT_IMAGE, f"lists the image {name!r}, which is not there", self._source.file_of(key))
        for path in self._files:
            statement = """SELECT DISTINCT key FROM spool s WHERE key >= ? AND key < ?
                AND NOT EXISTS (SELECT 1 FROM coco_images c WHERE c.key = s.key) ORDER BY key"""
            for (key,) in self._staging.query(statement, (f"{path}#", _end(path))):
                self._source.orphans.append(SourceImage("", labels=key))


def _end(path: str) -> str:
    """What follows all keys of a file, which begin with its path and ``#``: ``$`` is next in ASCII."""
    return f"{path}$"


def _side(written: Any) -> int:
    """A width or height in pixels; 0 where none is written."""
    return int(written) if isinstance(written, int | float) and 0 < written <= _MAX_SIDE_PX else 0


def _shown(written: Any) -> str:
    """An id for messages."""
    return printable(str(written)[:40]) if isinstance(written, int | float | str) else "without an id"
