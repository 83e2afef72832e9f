"""The images that are going to be a version, in the staging database: put there by an import or from other versions, split, named, and read back as manifest rows."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionyard.dataset.formats.shapes import LabelRow
from visionyard.dataset.labels import boxes_of, decode_labels, encode_labels, final_labels, with_class_ids
from visionyard.dataset.names import long_name, marked_name, plain_name, stem_key
from visionyard.dataset.shards import Place
from visionyard.dataset.staging import Row, Staging
from visionyard.kit.artifacts.manifest import ManifestRow, sorted_labels

_COLUMNS = "id, path, split, sha256, width, height, shard, at, length, phash, labels, label_file, name"
_HALF = 1 << 63
"""SQLite's integers are signed."""


@dataclass(slots=True)
class HeldImage:
    """An image that is kept.

    Attributes:
        path: In the source; of an image of another version its name there.
        split: As the source has it (empty where it does not tell), then as the version has it.
        sha256: Of its bytes.
        width: Of the upright picture, in pixels.
        height: Likewise.
        place: Where its bytes lie.
        labels: What is kept of its labels, with the class ids that the source gave.
        phash: See :func:`visionyard.dataset.images.perceptual_hash`.
        label_file: Where its labels stand in the source, or the file that lists it as one without any; empty where there is none.
        suffix: ``jpg`` or ``png``, by what it is.
        channels: 1 for a grey picture, else 3 (4 for CMYK); 0 where nobody looked.
        name: In the version, once it has one.
        id: In the staging database, once it is there.
    """

    path: str
    split: str
    sha256: str
    width: int
    height: int
    place: Place
    labels: list[LabelRow]
    phash: int = 0
    label_file: str = ""
    suffix: str = "jpg"
    channels: int = 0
    name: str = ""
    id: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What of a held image is looked at where there are very many.

    Attributes:
        path: In the source.
        split: Its split.
        width: In pixels.
        height: Likewise.
        channels: See :class:`HeldImage`.
        suffix: Likewise.
        boxes: FLOAT64 [labels, 5], see :func:`visionyard.dataset.labels.boxes_of`.
    """

    path: str
    split: str
    width: int
    height: int
    channels: int
    suffix: str
    boxes: NDArray[np.float64]


class HeldImages:
    """Images in the staging database.

    Args:
        staging: The database; the table is made.
    """

    def __init__(self, staging: Staging) -> None:
        self.staging = staging
        staging.run(
            "CREATE TABLE held (id INTEGER PRIMARY KEY, path TEXT, split TEXT, sha256 BLOB, width INT, height INT, shard TEXT, at INT, length INT, phash INT, "
            "channels INT, labels BLOB, label_count INT, label_file TEXT, suffix TEXT, name TEXT, key TEXT, fixed INT)"
        )
        staging.run("CREATE INDEX held_by_sha256 ON held (sha256)")

    def add(self, image: HeldImage) -> int:
        """Takes an image; one that has a name keeps it where that is possible. Returns its id."""
        name = image.name or plain_name(image.path, image.suffix)
        return self.staging.run(
            "INSERT INTO held VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                image.path,
                image.split,
                bytes.fromhex(image.sha256),
                image.width,
                image.height,
                image.place.shard,
                image.place.offset,
                image.place.length,
                image.phash - _HALF,
                image.channels,
                encode_labels(image.labels),
                len(image.labels),
                image.label_file,
                image.suffix,
                name,
                stem_key(name),
                bool(image.name),
            ),
        )

    def __len__(self) -> int:
        row = self.staging.one("SELECT COUNT(*) FROM held")
        return int(row[0]) if row else 0

    def __iter__(self) -> Iterator[HeldImage]:
        """In the order in which they came."""
        return (_image(row) for row in self.staging.query(f"SELECT {_COLUMNS} FROM held ORDER BY id"))  # noqa: S608 - a constant

    def some(self, images: Iterable[int]) -> Iterator[HeldImage]:
        """Those of these ids."""
        for image in images:
            yield from map(_image, self.staging.query(f"SELECT {_COLUMNS} FROM held WHERE id = ?", (image,)))  # noqa: S608 - a constant

    def rows(self, key_of: Callable[[str], str]) -> Iterator[ManifestRow]:
        """As a manifest has them, and in its order: split, then name. All of them have both.

        Args:
            key_of: Gives the key of a shard by what :attr:`Place.shard` calls it.
        """
        for sha256, name, split, width, height, shard, at, length, labels, phash in self.staging.query(
            "SELECT sha256, name, split, width, height, shard, at, length, labels, phash FROM held "
            "ORDER BY CASE split WHEN 'train' THEN 0 WHEN 'val' THEN 1 ELSE 2 END, name"
        ):
            final = tuple(sorted_labels(final_labels(labels)))
            yield ManifestRow(sha256.hex(), name, split, width, height, key_of(shard), at, length, final, phash + _HALF)

    def find(self, sha256: str) -> HeldImage | None:
        """The first image of these bytes, or None."""
        statement = f"SELECT {_COLUMNS} FROM held WHERE sha256 = ? ORDER BY id LIMIT 1"  # noqa: S608 - a constant
        row = self.staging.one(statement, (bytes.fromhex(sha256),))
        return _image(row) if row else None

    def place_of(self, sha256: str) -> Place | None:
        """Where the first image of these bytes lies, or None."""
        row = self.staging.one("SELECT shard, at, length FROM held WHERE sha256 = ? ORDER BY id LIMIT 1", (bytes.fromhex(sha256),))
        return Place(*row) if row else None

    def relabel(self, image: int, labels: list[LabelRow], label_file: str = "") -> None:
        """Gives an image other labels."""
        statement = "UPDATE held SET labels = ?, label_count = ?, label_file = ? WHERE id = ?"
        self.staging.run(statement, (encode_labels(labels), len(labels), label_file, image))

    def reclass(self, class_ids: Sequence[int]) -> list[int]:
        """Gives the labels of images other classes; none of them has points.

        Args:
            class_ids: What each class id becomes.

        Returns:
            The ids of the images that have labels of two classes that become one: they stay as they are.
        """
        joined: list[int] = []

        def changed() -> Iterator[tuple[bytes, int]]:
            for image, old in self.staging.query("SELECT id, labels FROM held WHERE label_count"):
                new = with_class_ids(old, class_ids)
                if new is None:
                    joined.append(image)
                elif new != old:
                    yield new, image

        self.staging.many("UPDATE held SET labels = ? WHERE id = ?", changed())
        return joined

    def doubles(self) -> Iterator[tuple[HeldImage, HeldImage]]:
        """Each image whose bytes an earlier one has, with the first of them before it: those of test come first, then val, then train; each by path."""
        statement = (
            f"SELECT {_COLUMNS} FROM held WHERE sha256 IN (SELECT sha256 FROM held GROUP BY sha256 HAVING COUNT(*) > 1) "  # noqa: S608 - a constant
            "ORDER BY sha256, CASE split WHEN 'test' THEN 0 WHEN 'val' THEN 1 ELSE 2 END, path"
        )
        first: HeldImage | None = None
        for image in map(_image, self.staging.query(statement)):
            if first is not None and first.sha256 == image.sha256:
                yield first, image
            else:
                first = image

    def measured(self) -> Iterator[Measured]:
        """What is looked at of each image, in the order in which they came."""
        statement = "SELECT path, split, width, height, channels, suffix, labels FROM held ORDER BY id"
        for path, split, width, height, channels, suffix, labels in self.staging.query(statement):
            yield Measured(path, split, width, height, channels, suffix, boxes_of(labels))

    def hashes(self) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Of each image, but of images of the same bytes only of one: by path INT64 [images], its id, and UINT64 [images], its perceptual hash."""
        statement = "SELECT id, phash FROM held WHERE id IN (SELECT MIN(id) FROM held GROUP BY sha256) ORDER BY path, id"
        found = np.fromiter((value for row in self.staging.query(statement) for value in row), dtype=np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1].astype(np.uint64) ^ np.uint64(_HALF)

    def where(self, image: int) -> tuple[str, str]:
        """An image's path in the source and its split, by id."""
        row = self.staging.one("SELECT path, split FROM held WHERE id = ?", (image,))
        return (str(row[0]), str(row[1])) if row else ("", "")

    def last_id(self) -> int:
        """The id of the image that came last; 0 where there is none."""
        row = self.staging.one("SELECT MAX(id) FROM held")
        return int(row[0] or 0) if row else 0

    def remove_replaced(self, last: int) -> None:
        """Takes out the images up to the one of this id whose bytes a later one has too."""
        self.staging.run("DELETE FROM held WHERE id <= ? AND sha256 IN (SELECT sha256 FROM held WHERE id > ?)", (last, last))

    def label_count(self) -> int:
        """How many labels the images have."""
        row = self.staging.one("SELECT SUM(label_count) FROM held")
        return int(row[0] or 0) if row else 0

    def name(self, image: int) -> str:
        """An image's name, by id."""
        row = self.staging.one("SELECT name FROM held WHERE id = ?", (image,))
        return str(row[0]) if row else ""

    def phash(self, image: int) -> int:
        """An image's perceptual hash, by id."""
        row = self.staging.one("SELECT phash FROM held WHERE id = ?", (image,))
        return int(row[0]) + _HALF if row else 0

    def remove(self, images: Iterable[int]) -> None:
        """Takes images out, by id."""
        self.staging.many("DELETE FROM held WHERE id = ?", ((image,) for image in images))

    def split(self, pairs: Iterable[tuple[str, int]]) -> None:
        """Sets splits, by id."""
        self.staging.many("UPDATE held SET split = ? WHERE id = ?", list(pairs))

    def splits(self) -> set[str]:
        """The splits that come up."""
        return {split for (split,) in self.staging.query("SELECT DISTINCT split FROM held")}

    def groups(self, where: str = "1") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Images of the same bytes as groups, numbered in the order of their sha256.

        Args:
            where: Which images, an SQL condition on constants.

        Returns:
            INT64 [images], their ids; INT64 [images], the group of each.
        """
        ids, ranks = [], []
        statement = f"SELECT id, DENSE_RANK() OVER (ORDER BY sha256) - 1 FROM held WHERE {where}"  # noqa: S608 - constants only, by contract
        for image, rank in self.staging.query(statement):
            ids.append(image)
            ranks.append(rank)
        return np.array(ids, dtype=np.int64), np.array(ranks, dtype=np.int64)

    def class_ids(self, images: Iterable[np.int64]) -> Iterator[NDArray[np.int64]]:
        """For each of these images, by id, INT64 [labels]: the class of each label."""
        for image in images:
            row = self.staging.one("SELECT labels FROM held WHERE id = ?", (int(image),))
            yield np.array([label.class_id for label in decode_labels(row[0])] if row else [], dtype=np.int64)

    def rename_splits(self, names: Mapping[str, str]) -> None:
        """Calls splits otherwise."""
        self.staging.many("UPDATE held SET split = ? WHERE split = ?", [(new, old) for old, new in names.items()])

    def give_names(self) -> None:
        """Makes names unique in their split, also without extension and whatever the case (label files are named by the stem).

        An image keeps its file name where no other of its split wants the same one; else the folders above come before it, joined by ``-``; else a piece of its path's
        sha256 follows it. What a name is does not depend on the order of the images. Names that came with their images stay, unless two of those are alike.
        """
        self.staging.run("CREATE INDEX IF NOT EXISTS held_by_key ON held (split, key)")
        for longer in (long_name, marked_name, marked_name):
            clashing = self.staging.query(
                "SELECT id, path, suffix, name, fixed FROM held WHERE (split, key) IN (SELECT split, key FROM held GROUP BY split, key HAVING COUNT(*) > 1) "
                "AND (NOT fixed OR (split, key) IN (SELECT split, key FROM held WHERE fixed GROUP BY split, key HAVING COUNT(*) > 1))"
            )
            renamed = [(longer(path, suffix, name), image) for image, path, suffix, name, _ in clashing]
            if not renamed:
                return
            self.staging.many("UPDATE held SET name = ?, key = ? WHERE id = ?", ((name, stem_key(name), image) for name, image in renamed))

    def image_of(self, file: str) -> str:
        """``{split}/{name}`` of the image or label file of the source; empty where the version has none, or many images share the file."""
        for column in ("path", "label_file"):  # made when the first is asked for: up to 10,000 findings ask
            self.staging.run(f"CREATE INDEX IF NOT EXISTS held_by_{column} ON held ({column})")
        rows = list(self.staging.query("SELECT split, name FROM held WHERE path = ? OR label_file = ? LIMIT 2", (file, file)))
        return f"{rows[0][0]}/{rows[0][1]}" if len(rows) == 1 else ""


def _image(row: Row) -> HeldImage:
    number, path, split, sha256, width, height, shard, at, length, phash, labels, label_file, name = row
    return HeldImage(
        path=path,
        split=split,
        sha256=sha256.hex(),
        width=width,
        height=height,
        place=Place(shard, at, length),
        labels=list(decode_labels(labels)),
        phash=phash + _HALF,
        label_file=label_file,
        suffix=posixpath.splitext(name)[1][1:].lower(),
        name=name,
        id=number,
    )
