"""Which images a project holds already: Parquet segments (sha256 to shard, offset, length), one for each import that stored images.

A segment is written after its import's version was published. A collection takes out of the index what it is about to delete, before it does; see :mod:`.pins`.
"""

from __future__ import annotations

import hashlib
import io
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visionyard.dataset.shards import Place, shard_prefix
from visionyard.kit.artifacts.manifest import ManifestRow
from visionyard.kit.objectstore.port import NotFound, ObjectStore

_SCHEMA = pa.schema(
    [
        ("sha256", pa.binary(32)),
        ("shard", pa.dictionary(pa.int32(), pa.string())),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ],
)
_MANY_SEGMENTS = 16
"""More are merged by the next collection, so that an import reads few objects."""


def index_prefix(project: str) -> str:
    """Where a project's segments lie, with the trailing slash."""
    return f"projects/{project}/index/"


class NewImages:
    """The images of a version that lie in shards of its own: a segment of them. Takes 56 bytes an image.

    Args:
        shards: Those shards.
    """

    def __init__(self, shards: Sequence[str]) -> None:
        self._shards = list(shards)
        self._ordinals = {shard: i for i, shard in enumerate(shards)}
        self._digests, self._places = bytearray(), array("q")

    def passing(self, rows: Iterable[ManifestRow]) -> Iterator[ManifestRow]:
        """The same rows, noted while they pass by on their way to somebody else."""
        for row in rows:
            ordinal = self._ordinals.get(row.shard)
            if ordinal is not None:
                self._digests += bytes.fromhex(row.sha256)
                self._places.extend((ordinal, row.offset, row.length))
            yield row

    def encode(self) -> bytes:
        """The segment; the same rows give the same bytes."""
        by_digest = np.frombuffer(bytes(self._digests), dtype="V32")
        _, first = np.unique(by_digest, return_index=True)
        place = np.frombuffer(self._places, dtype=np.int64).reshape(-1, 3)[first]
        digests = pa.py_buffer(by_digest[first].tobytes())
        return _encode(
            pa.table(
                {
                    "sha256": pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(first), [None, digests]),
                    "shard": pa.DictionaryArray.from_arrays(pa.array(place[:, 0], pa.int32()), pa.array(self._shards, pa.string())),
                    "offset": pa.array(place[:, 1]),
                    "length": pa.array(place[:, 2]),
                },
                schema=_SCHEMA,
            )
        )


def encode_segment(rows: Iterable[ManifestRow], shards: Sequence[str]) -> bytes:
    """See :class:`NewImages`; of rows that nobody else waits for."""
    images = NewImages(shards)
    for _ in images.passing(rows):
        pass
    return images.encode()


def encode_places(places: Mapping[bytes, Place]) -> bytes:
    """A segment of images by the bytes of their sha256; the same images in the same places give the same bytes."""
    return _encode(_table(sorted(places.items(), key=lambda item: item[0])))


def _table(places: Iterable[tuple[bytes, Place]]) -> pa.Table:
    rows = [(sha256, place.shard, place.offset, place.length) for sha256, place in places]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(_SCHEMA)
    return pa.table({f.name: pa.array(column, f.type) for f, column in zip(_SCHEMA, columns, strict=True)}, schema=_SCHEMA)


def _encode(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def store_segment(store: ObjectStore, project: str, data: bytes) -> str:
    """Writes a segment under the sha256 of its bytes; returns its key."""
    key = f"{index_prefix(project)}{hashlib.sha256(data).hexdigest()}.parquet"
    store.put(key, data)
    return key


def read_segments(store: ObjectStore, project: str) -> Iterator[tuple[str, pa.Table]]:
    """A project's segments with their keys. Blocks."""
    for entry in store.list(index_prefix(project)):
        try:
            yield entry.key, pq.read_table(io.BytesIO(store.get(entry.key).data)).cast(_SCHEMA)
        except NotFound:  # merged away since it was listed
            continue


def prune_index(store: ObjectStore, project: str, gone: Collection[str]) -> tuple[list[str], list[str]]:
    """Sees to it that no segment tells of a shard that is about to be deleted; merges segments where that changes them, or where there are many. Blocks.

    Ended anywhere, it leaves an index that tells of each image that lies in other shards at least once.

    Args:
        store: The bucket.
        project: Whose index.
        gone: The shards that are about to be deleted.

    Returns:
        The keys of the segments that were written, and of those that were deleted.
    """
    segments = list(read_segments(store, project))
    ending = pa.array(sorted(gone), pa.string())
    touched = any(pc.any(_lies_in(table, ending)).as_py() for _, table in segments)
    if not touched and len(segments) <= _MANY_SEGMENTS:
        return [], []
    merged = _merge(pa.concat_tables([_SCHEMA.empty_table(), *(table for _, table in segments)]), ending)
    written = [store_segment(store, project, _encode(merged))] if merged.num_rows else []
    old = [key for key, _ in segments if key not in written]
    store.delete_many(old)
    return written, old


def _merge(table: pa.Table, gone: pa.Array) -> pa.Table:
    """The rows outside of the ``gone`` shards by sha256, each image once."""
    merged = table.filter(pc.invert(_lies_in(table, gone))).unify_dictionaries().sort_by("sha256").combine_chunks()
    if merged.num_rows <= 1:
        return merged
    digests = merged["sha256"].combine_chunks()
    first_of_its_kind = pc.not_equal(digests[1:], digests[:-1])
    return merged.filter(pa.concat_arrays([pa.array([True]), first_of_its_kind]))


def _lies_in(table: pa.Table, shards: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(table["shard"].cast(pa.string()), value_set=shards)


class KnownImages:
    """The images of a project by sha256, 48 bytes of memory each.

    Args:
        table: The segments' rows.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        digests = b"".join(self._table["sha256"].to_pylist())
        # The first 8 bytes find a digest; the row itself tells whether it is the one.
        heads = np.frombuffer(digests, dtype=">u8").reshape(-1, 4)[:, 0].astype(np.uint64)
        self._order = np.argsort(heads, kind="stable")
        self._heads = heads[self._order]

    @classmethod
    def read(cls, store: ObjectStore, project: str) -> KnownImages:
        """Reads a project's segments, for an import that has pinned (:mod:`.pins`).

        Images whose shard is not in the bucket are left out: a collection's last word is the listing of the shards, whatever a segment still says.
        """
        table = pa.concat_tables([_SCHEMA.empty_table(), *(table for _, table in read_segments(store, project))])
        held = pa.array([entry.key for entry in store.list(shard_prefix(project))], pa.string())
        return cls(table.filter(_lies_in(table, held)))

    def __len__(self) -> int:
        return len(self._heads)

    def find(self, sha256: str) -> Place | None:
        """Where the image lies, or None where the project does not hold it."""
        if not len(self._heads):
            return None
        wanted = bytes.fromhex(sha256)
        head = np.uint64(int.from_bytes(wanted[:8], "big"))
        at = int(np.searchsorted(self._heads, head))
        while at < len(self._heads) and self._heads[at] == head:
            row = int(self._order[at])
            if self._table["sha256"][row].as_py() == wanted:
                return Place(self._table["shard"][row].as_py(), self._table["offset"][row].as_py(), self._table["length"][row].as_py())
            at += 1
        return None
