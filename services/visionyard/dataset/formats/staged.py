"""What a format's reader puts down in the staging database: lists of images, and the labels of files that hold many images'."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.shapes import LabelRow, Shape, Unit, WrittenLabel
from visionyard.dataset.staging import Row, Staging


class SourceImage(NamedTuple):
    """An image that belongs to the set.

    Attributes:
        path: In the source; of a labelling without image the image's name as the labelling has it, empty where it names none.
        split: ``train``, ``val`` or ``test``; empty where the source does not tell.
        labels: What :meth:`LabelledSource.rows` finds its labels by: the path of its label file, or that of a file of many images' labels, ``#`` and a key;
            empty for a background image.
        stated: Of a background image the file that lists it, and so says that nothing is on it; empty where there is only no label file, which may mean that nobody looked.
    """

    path: str
    split: str = ""
    labels: str = ""
    stated: str = ""


_SHAPES, _UNITS = tuple(Shape), tuple(Unit)
"""By their numbers, which are counted from 0."""


class SourceImages:
    """A list of images in the staging database.

    Args:
        staging: The database.

    Attributes:
        id: Its number there.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        staging.run("CREATE TABLE IF NOT EXISTS source_lists (id INTEGER PRIMARY KEY)")
        staging.run("CREATE TABLE IF NOT EXISTS source_images (list INT, path TEXT, split TEXT, labels TEXT, stated TEXT)")
        staging.run("CREATE INDEX IF NOT EXISTS source_images_by_path ON source_images (list, path)")
        self.id = staging.run("INSERT INTO source_lists VALUES (NULL)")
        self._count = 0

    def append(self, image: SourceImage) -> None:
        """Adds one."""
        row = self.id, image.path, image.split, image.labels, image.stated
        self._staging.run("INSERT INTO source_images VALUES (?, ?, ?, ?, ?)", row)
        self._count += 1

    def find(self, path: str) -> SourceImage | None:
        """The image of that path, or None."""
        statement = "SELECT path, split, labels, stated FROM source_images WHERE list = ? AND path = ? LIMIT 1"
        row = self._staging.one(statement, (self.id, path))
        return SourceImage(*row) if row else None

    def placed(self) -> Iterator[tuple[int, int, SourceImage]]:
        """The images that are files of the source, in the order in which these lie there, each path once: place and size of the file, and the image."""
        before = -1
        for place, size, *image in self._staging.query(
            "SELECT f.place, f.size, i.path, i.split, i.labels, i.stated FROM source_images i JOIN files f ON f.path = i.path "
            "WHERE i.list = ? ORDER BY f.place, i.rowid",
            (self.id,),
        ):
            if place != before:
                yield place, size, SourceImage(*image)
            before = place

    def splits(self) -> set[str]:
        """The splits that come up."""
        return {split for (split,) in self._staging.query("SELECT DISTINCT split FROM source_images WHERE list = ?", (self.id,))}

    def labelled(self) -> int:
        """How many have labels."""
        row = self._staging.one("SELECT COUNT(*) FROM source_images WHERE list = ? AND labels != ''", (self.id,))
        return int(row[0]) if row else 0

    def __iter__(self) -> Iterator[SourceImage]:
        statement = "SELECT path, split, labels, stated FROM source_images WHERE list = ? ORDER BY path, labels"
        return (SourceImage(*row) for row in self._staging.query(statement, (self.id,)))

    def __len__(self) -> int:
        return self._count


def images_in_none(staging: Staging, one: SourceImages, other: SourceImages) -> Iterator[tuple[str, int, str]]:
    """The folders with images of the source that are in neither list, sorted: the folder, how many such images it holds, and the first of them."""
    statement = """SELECT folder, COUNT(*), MIN(path) FROM files WHERE image
        AND NOT EXISTS (SELECT 1 FROM source_images s WHERE s.list IN (?, ?) AND s.path = files.path) GROUP BY folder ORDER BY folder"""
    return ((str(folder), int(count), str(first)) for folder, count, first in staging.query(statement, (one.id, other.id)))


class LabelSpool:
    """The labels of files that hold many images' (COCO, CVAT, VIA, ...), put down by image while the file streams by.

    Args:
        staging: The database that they lie in.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        staging.run(
            "CREATE TABLE IF NOT EXISTS spool (key TEXT, line INT, problem TEXT, message TEXT, class INT, shape INT, unit INT, dims INT, note TEXT, conf REAL, box INT, at BLOB)"
        )
        staging.run("CREATE INDEX IF NOT EXISTS spool_by_key ON spool (key)")

    def add(self, key: str, label: WrittenLabel) -> None:
        """Puts a label down; ``key`` is the image's :attr:`SourceImage.labels`."""
        self.add_all(((key, label),))

    def add_all(self, labels: Iterable[tuple[str, WrittenLabel]]) -> None:
        """Puts labels down, each with its key; many at once take a third of the time."""
        self._staging.many("INSERT INTO spool VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_spooled, labels))

    def rows(self, key: str, width: int, height: int) -> Iterator[LabelRow]:
        """The labels of an image in the order in which they came; see :meth:`WrittenLabel.row`."""
        for line, problem, message, class_id, shape, unit, dimensions, note, confidence, box, blob in self._staging.query(
            "SELECT line, problem, message, class, shape, unit, dims, note, conf, box, at FROM spool WHERE key = ? ORDER BY rowid", (key,)
        ):
            values = array("d", blob)
            label = WrittenLabel(
                line,
                Code[problem] if problem else None,
                message,
                class_id,
                _SHAPES[shape],
                tuple(values[:box]),
                tuple(values[box:]),
                _UNITS[unit],
                dimensions,
                Code[note] if note else None,
                confidence,
            )
            yield label.row(width, height)


def _spooled(item: tuple[str, WrittenLabel]) -> Row:
    key, label = item
    return (
        key,
        label.line,
        label.problem.name if label.problem else None,
        label.message,
        label.class_id,
        label.shape.value,
        label.unit.value,
        label.dimensions,
        label.note.name if label.note else None,
        label.confidence,
        len(label.box),
        array("d", (*label.box, *label.points)).tobytes(),
    )
