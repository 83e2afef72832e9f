"""A dataset version's manifest: one row an image, with its place in the shards and its labels, as a Parquet file.

Written by the dataset room, read by whoever needs the images or labels. Rows are sorted by split and name, labels by class and place, so
that the same content is always the same sequence.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

SPLITS = ("train", "val", "test")
"""The splits that a version may have, in the order in which they are told."""


class Label(NamedTuple):
    """One label, in shares of the upright picture's width and height, from 0 to 1.

    Attributes:
        class_id: From 0.
        cx: The x of the box's centre. The box encloses the points of a polygon or rotated box; of a class of the whole picture it is the picture.
        cy: The centre's y.
        w: The width.
        h: The height.
        points: By the version's task: ``segment`` the polygon's corners (x, y each), ``obb`` the four corners of the rotated box (x, y each), ``pose`` the keypoints
            (x, y and, with three dimensions, visibility 0, 1 or 2 each); empty otherwise.
        confidence: Of a predicted label that nobody has confirmed, 0 to 1; None for a person's.
    """

    class_id: int
    cx: float
    cy: float
    w: float
    h: float
    points: tuple[float, ...] = ()
    confidence: float | None = None

    def content(self) -> tuple[object, ...]:
        """What identifies it: the attributes, those at the end left out where they are empty."""
        if self.confidence is not None:
            return tuple(self)
        return tuple(self[:6]) if self.points else tuple(self[:5])


def label_order(label: Label) -> tuple[object, ...]:
    """What an image's labels are sorted by: class, place, points, those of persons before predicted ones."""
    return *label[:6], -1.0 if label.confidence is None else label.confidence


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image of a version.

    Attributes:
        sha256: Of the image file's bytes, 64 lower-case hexadecimal digits.
        name: The file's name, unique in its split also without its extension and whatever the case: ``street_01.jpg``.
        split: ``train``, ``val`` or ``test``.
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        shard: The bucket key of the tar that holds the file.
        offset: Where in the tar its bytes begin.
        length: How many bytes it has.
        labels: Its labels, in the order of :func:`label_order`; empty for a background image.
        phash: A perceptual hash of 64 bits, see :func:`visionyard.dataset.images.perceptual_hash`; 0 where none was taken.
    """

    sha256: str
    name: str
    split: str
    width: int
    height: int
    shard: str
    offset: int
    length: int
    labels: tuple[Label, ...]
    phash: int = 0


_LABEL = pa.struct(
    [
        ("class_id", pa.int32()),
        ("cx", pa.float64()),
        ("cy", pa.float64()),
        ("w", pa.float64()),
        ("h", pa.float64()),
        ("points", pa.list_(pa.float64())),
        ("confidence", pa.float64()),
    ],
)
_SCHEMA = pa.schema(
    [
        ("sha256", pa.string()),
        ("name", pa.string()),
        ("split", pa.dictionary(pa.int8(), pa.string())),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("shard", pa.dictionary(pa.int32(), pa.string())),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("labels", pa.list_(_LABEL)),
        ("phash", pa.uint64()),
    ],
)
_ROWS_AT_ONCE = 4096


def row_order(row: ManifestRow) -> tuple[int, str]:
    """What manifests are sorted by: split (train, val, test), then name."""
    return SPLITS.index(row.split), row.name


def in_order(rows: Iterable[ManifestRow]) -> Iterator[ManifestRow]:
    """The same rows.

    Raises:
        ValueError: they are not in the order of :func:`row_order`.
    """
    before: tuple[int, str] | None = None
    for row in rows:
        order = row_order(row)
        if before is not None and order <= before:
            raise ValueError(f"{row.split}/{row.name} does not follow {before}")
        before = order
        yield row


def batched(rows: Iterable[ManifestRow], size: int) -> Iterator[list[ManifestRow]]:
    """The rows in lists of ``size``, the last one shorter."""
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def encode_manifest(rows: Iterable[ManifestRow], maker: Mapping[str, str]) -> bytes:
    """Writes a Parquet file.

    Args:
        rows: The rows in the order of :func:`row_order`; taken one by one, so they may be made on the way.
        maker: Who writes it (job and attempt); kept in the file's metadata, so that no two makers ever share a file.
    """
    buffer = io.BytesIO()
    schema = _SCHEMA.with_metadata({"visionyard": json.dumps(dict(maker), sort_keys=True)})
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for chunk in batched(in_order(rows), _ROWS_AT_ONCE):
            writer.write_table(_table(chunk, schema))
    return buffer.getvalue()


def _table(rows: list[ManifestRow], schema: pa.Schema) -> pa.Table:
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in schema.names if name != "labels"}
    columns["labels"] = [list(row.labels) for row in rows]  # a tuple is a struct's row
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)


def decode_manifest(data: bytes) -> Iterator[ManifestRow]:
    """Reads what :func:`encode_manifest` wrote, row by row; also what earlier versions wrote, without points, confidences and hashes."""
    for batch in pq.ParquetFile(io.BytesIO(data)).iter_batches(batch_size=_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            labels = tuple(
                Label(
                    label["class_id"],
                    label["cx"],
                    label["cy"],
                    label["w"],
                    label["h"],
                    tuple(label.get("points") or ()),
                    label.get("confidence"),
                )
                for label in row.pop("labels")
            )
            yield ManifestRow(**row, labels=labels)


class ContentDigest:
    """``sha256:`` and the sha256 of what a version holds: task, classes, what its keypoints are, and each image's split, name, bytes and labels.

    Neither the dataset's name nor the shards have a part in it. The rows come in the order of :func:`row_order`.

    Args:
        task: In Ultralytics' words.
        class_names: By id.
        keypoints: What its keypoints are; None unless the task is ``pose``.
    """

    def __init__(self, task: str, class_names: Iterable[str], keypoints: Mapping[str, Any] | None = None) -> None:
        head: list[Any] = [task, list(class_names)] + ([dict(keypoints)] if keypoints else [])
        self._digest = hashlib.sha256(json.dumps(head, ensure_ascii=False, sort_keys=True).encode())

    def passing(self, rows: Iterable[ManifestRow]) -> Iterator[ManifestRow]:
        """The same rows, counted in while they pass by on their way to somebody else."""
        for row in in_order(rows):
            labels = [label.content() for label in sorted(row.labels, key=label_order)]
            line = json.dumps([row.split, row.name, row.sha256, row.width, row.height, labels], ensure_ascii=False)
            self._digest.update(b"\n")
            self._digest.update(line.encode())
            yield row

    def value(self) -> str:
        """The digest of all rows that have passed."""
        return f"sha256:{self._digest.hexdigest()}"


def content_digest(task: str, class_names: Iterable[str], rows: Iterable[ManifestRow], keypoints: Mapping[str, Any] | None = None) -> str:
    """See :class:`ContentDigest`; of rows that nobody else waits for."""
    digest = ContentDigest(task, class_names, keypoints)
    for _ in digest.passing(rows):
        pass
    return digest.value()
