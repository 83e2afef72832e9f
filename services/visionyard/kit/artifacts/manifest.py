"""A dataset version's manifest: one row an image, with its place in the shards and its labels, as a Parquet file.

Written by the dataset room, read by whoever needs the images or labels. Rows are sorted by split and name, labels by class and place, so
that the same content is always the same sequence.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def sorted_labels(labels: Iterable[Label]) -> list[Label]:
    """The labels in the order of :func:`label_order`."""
    labels = list(labels)
    try:
        return sorted(labels)  # compared field by field as they are: the same order, in a fifth of the time
    except TypeError:  # a predicted label and a person's that are alike in everything else: a number and None
        return sorted(labels, key=label_order)


class ManifestRow(NamedTuple):
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
_LINES = json.JSONEncoder(ensure_ascii=False)


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
    columns = dict(zip(ManifestRow._fields, zip(*rows, strict=True), strict=True))
    arrays = {name: pa.array(columns[name], schema.field(name).type) for name in schema.names if name != "labels"}
    arrays["labels"] = label_lists(columns["labels"])
    return pa.table([arrays[name] for name in schema.names], schema=schema)


def label_lists(labels: Sequence[tuple[Label, ...]]) -> pa.ListArray:
    """Each image's labels as the manifest's column of them, put together from flat ones: Arrow takes several times as long for nested tuples."""
    flat = list(itertools.chain.from_iterable(labels))
    columns = zip(*flat, strict=True) if flat else [()] * _LABEL.num_fields
    fields = [
        _lists(column, pa.float64()) if name == "points" else pa.array(column, _LABEL.field(name).type)
        for name, column in zip(Label._fields, columns, strict=True)
    ]
    return pa.ListArray.from_arrays(_ends(labels), pa.StructArray.from_arrays(fields, fields=list(_LABEL)))


def _lists(column: Sequence[tuple[float, ...]], kind: pa.DataType) -> pa.ListArray:
    return pa.ListArray.from_arrays(_ends(column), pa.array(list(itertools.chain.from_iterable(column)), kind))


def _ends(lists: Iterable[Sequence[object]]) -> pa.Int32Array:
    """Where each list begins in all of them together, and where the last one ends."""
    return pa.array([0, *itertools.accumulate(map(len, lists))], pa.int32())


def decode_manifest(data: bytes) -> Iterator[ManifestRow]:
    """Reads what :func:`encode_manifest` wrote, row by row; also what earlier versions wrote, without points, confidences and hashes."""
    for batch in pq.ParquetFile(io.BytesIO(data)).iter_batches(batch_size=_ROWS_AT_ONCE):
        yield from _rows(batch, _label_tuples(batch.column("labels")))


def decode_images(data: bytes) -> Iterator[ManifestRow]:
    """The same rows without their labels, in a third of the time."""
    file = pq.ParquetFile(io.BytesIO(data))
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[name for name in file.schema_arrow.names if name != "labels"]):
        yield from _rows(batch, [()] * len(batch))


def decode_labels(data: bytes, rows_at_once: int) -> Iterator[tuple[list[str], list[str], pa.ListArray]]:
    """The labels as Arrow keeps them, so many images at a time: their splits, their names, and the column of their labels."""
    for batch in pq.ParquetFile(io.BytesIO(data)).iter_batches(batch_size=rows_at_once, columns=["split", "name", "labels"]):
        yield _values(batch.column("split")), _values(batch.column("name")), batch.column("labels")


def _rows(batch: pa.RecordBatch, labels: list[tuple[Label, ...]]) -> Iterator[ManifestRow]:
    columns = {name: _values(batch.column(name)) for name in batch.schema.names if name != "labels"}
    columns["labels"] = labels
    return map(ManifestRow, *(columns[name] for name in ManifestRow._fields if name in columns))


def _values(column: pa.Array) -> list[Any]:
    """Its values; of words of a dictionary put together first, as Arrow looks each of them up on the way to Python in twenty times the time."""
    values: list[Any] = (column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column).to_pylist()
    return values


def _label_tuples(column: pa.ListArray) -> list[tuple[Label, ...]]:
    """Each image's labels; see :func:`label_lists`."""
    flat = column.flatten()
    fields = {field.name: flat.field(field.name).to_pylist() for field in flat.type}
    fields["points"] = [tuple(points or ()) for points in fields.get("points", itertools.repeat((), len(flat)))]
    labels = map(Label, *(fields[name] for name in Label._fields if name in fields))
    return [tuple(itertools.islice(labels, count)) for count in column.value_lengths().to_pylist()]


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
            labels = [label.content() for label in sorted_labels(row.labels)]
            line = _LINES.encode([row.split, row.name, row.sha256, row.width, row.height, labels])
            self._digest.update(b"\n" + line.encode())
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
