"""Shards: plain tars of images, at most 64 MiB each, written to a scratch file and stored under the sha256 of their bytes.

A shard begins with a comment (a pax global header, which every tar reads past) that names the attempt that wrote it. So no two attempts ever write the same
key, and one that fails may delete its own shards without taking anything from anybody.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from visionyard.kit.tar_header import HeaderTemplate

SHARD_BYTES = 64 << 20
"""The largest shard, unless one image alone is larger. One request stores it, while the next one is written."""
_BLOCK = 512
_HEADERS = HeaderTemplate(tarfile.TarInfo(), tarfile.USTAR_FORMAT)
_END = bytes(2 * _BLOCK)


def shard_prefix(project: str) -> str:
    """Where a project's shards lie, with the trailing slash."""
    return f"projects/{project}/shards/"


class Place(NamedTuple):
    """Where an image's bytes lie.

    Attributes:
        shard: The bucket key of the tar; while it is still being written its ordinal, ``"0"``, ``"1"``, ...
        offset: Where they begin.
        length: How many they are.
    """

    shard: str
    offset: int
    length: int


class ShardWriter:
    """Writes shards one after the other.

    Args:
        project: Whose they are.
        scratch: A private folder.
        maker: The attempt, for the comment.
        store: Called with the key and the file of each whole shard. The file is removed when it returns, unless it was moved away.
        limit: The largest shard, in bytes.

    Attributes:
        keys: The keys of the shards that were handed over, by ordinal.
        stored_bytes: Their size together.
    """

    def __init__(self, project: str, scratch: Path, maker: str, store: Callable[[str, Path], None], limit: int = SHARD_BYTES) -> None:
        self.keys: list[str] = []
        self.stored_bytes = 0
        self._project = project
        self._path = scratch / "shard.tar"
        self._maker = maker
        self._store = store
        self._limit = limit
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._size = 0

    def add(self, sha256: str, suffix: str, data: bytes) -> Place:
        """Writes an image; it is in the bucket once its shard is full or :meth:`close` was called."""
        if self._file is not None and self._size + _BLOCK + len(data) + _BLOCK + len(_END) > self._limit:
            self.close()
        if self._file is None:
            self._begin()
        place = Place(str(len(self.keys)), self._size + _BLOCK, len(data))
        self._write(_HEADERS.header(f"{sha256}.{suffix}", len(data)), data, bytes(-len(data) % _BLOCK))
        return place

    def _begin(self) -> None:
        self._file = self._path.open("wb", buffering=0)
        self._digest, self._size = hashlib.sha256(), 0
        self._write(tarfile.TarInfo.create_pax_global_header({"comment": f"visionyard {self._maker} {len(self.keys)}"}))

    def _write(self, *pieces: bytes) -> None:
        if self._file is None:
            raise RuntimeError("no shard is open")
        left = size = sum(map(len, pieces))
        left -= os.writev(self._file.fileno(), pieces)
        if left:  # a signal, or a disk that is nearly full
            rest = memoryview(b"".join(pieces))[size - left :]
            while rest:
                rest = rest[self._file.write(rest) :]
        for piece in pieces:
            self._digest.update(piece)
        self._size += size

    def close(self) -> None:
        """Ends the shard that is being written, if there is one, and hands it over to be stored."""
        if self._file is None:
            return
        self._write(_END)
        self._file.close()
        self._file = None
        key = f"{shard_prefix(self._project)}{self._digest.hexdigest()}.tar"
        self._store(key, self._path)
        self.keys.append(key)
        self.stored_bytes += self._size
        self._path.unlink(missing_ok=True)

    def key_of(self, shard: str) -> str:
        """The key of a :attr:`Place.shard`, once that was handed over."""
        return self.keys[int(shard)] if shard.isdigit() else shard

    def resolve(self, place: Place) -> Place:
        """The place with its shard's key."""
        return Place(self.key_of(place.shard), place.offset, place.length)
