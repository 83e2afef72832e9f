"""Which images a project holds already: Parquet segments (sha256 to shard, offset, length), one for each import that stored images.

A segment is written after its import's version was published, so whatever stands in one is there to stay.
"""

from __future__ import annotations

import hashlib
import io
from array import array
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visionyard.dataset.shards import Place
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


def index_prefix(project: str) -> str:
    """Where a project's segments lie, with the trailing slash."""
    return f"projects/{project}/index/"


def encode_segment(rows: Iterable[ManifestRow], shards: Sequence[str]) -> bytes:
    """A segment of those rows whose images lie in ``shards``; the same rows give the same bytes."""
    ordinals = {shard: i for i, shard in enumerate(shards)}
    digests, places = bytearray(), array("q")
    for row in rows:
        ordinal = ordinals.get(row.shard)
        if ordinal is not None:
            digests += bytes.fromhex(row.sha256)
            places.extend((ordinal, row.offset, row.length))
    by_digest = np.frombuffer(bytes(digests), dtype="V32")
    _, first = np.unique(by_digest, return_index=True)
    place = np.frombuffer(places, dtype=np.int64).reshape(-1, 3)[first]
    table = pa.table(
        {
            "sha256": pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(first), [None, pa.py_buffer(by_digest[first].tobytes())]),
            "shard": pa.DictionaryArray.from_arrays(pa.array(place[:, 0], pa.int32()), pa.array(list(shards), pa.string())),
            "offset": pa.array(place[:, 1]),
            "length": pa.array(place[:, 2]),
        },
        schema=_SCHEMA,
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def store_segment(store: ObjectStore, project: str, data: bytes) -> str:
    """Writes a segment under the sha256 of its bytes; returns its key."""
    key = f"{index_prefix(project)}{hashlib.sha256(data).hexdigest()}.parquet"
    store.put(key, data)
    return key


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
        """Reads a project's segments."""
        tables = [_SCHEMA.empty_table()]
        for entry in store.list(index_prefix(project)):
            try:
                tables.append(pq.read_table(io.BytesIO(store.get(entry.key).data)))
            except NotFound:  # merged away since it was listed
                continue
        return cls(pa.concat_tables(tables))

    def __len__(self) -> int:
        return len(self._heads)

    def find(self, sha256: str) -> Place | None:
        """Where the image lies, or None where the project does not hold it."""
        wanted = bytes.fromhex(sha256)
        head = np.uint64(int.from_bytes(wanted[:8], "big"))
        at = int(np.searchsorted(self._heads, head))
        while at < len(self._heads) and self._heads[at] == head:
            row = int(self._order[at])
            if self._table["sha256"][row].as_py() == wanted:
                return Place(self._table["shard"][row].as_py(), self._table["offset"][row].as_py(), self._table["length"][row].as_py())
            at += 1
        return None
