"""Which images a project holds already: Parquet segments (sha256 to shard, offset, length), one for each import that stored images.

A segment is written after its import's version was published, so whatever stands in one is there to stay.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable

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


def encode_segment(rows: Iterable[ManifestRow], shards: Iterable[str]) -> bytes:
    """A segment of those rows whose images lie in ``shards``; the same rows give the same bytes."""
    ours = set(shards)
    places = {row.sha256: row for row in rows if row.shard in ours}
    ordered = [places[sha256] for sha256 in sorted(places)]
    columns = {
        "sha256": [bytes.fromhex(row.sha256) for row in ordered],
        "shard": [row.shard for row in ordered],
        "offset": [row.offset for row in ordered],
        "length": [row.length for row in ordered],
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table({f.name: pa.array(columns[f.name], f.type) for f in _SCHEMA}, schema=_SCHEMA), buffer, compression="zstd")
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
