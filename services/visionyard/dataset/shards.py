"""Shards: plain tars of images, at most 256 MiB each, written to a scratch file and stored under the sha256 of their bytes.

A shard begins with a comment (a pax global header, which every tar reads past) that names the attempt that wrote it. So no two attempts ever write the same
key, and one that fails may delete its own shards without taking anything from anybody.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SHARD_BYTES = 256 << 20
"""The largest shard, unless one image alone is larger."""
_BLOCK = 512
_END = bytes(2 * _BLOCK)


def shard_prefix(project: str) -> str:
    """Where a project's shards lie, with the trailing slash."""
    return f"projects/{project}/shards/"


@dataclass(frozen=True, slots=True)
class Place:
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
        scratch: A private folder; one shard's file is in it at a time.
        maker: The attempt, for the comment.
        store: Called with the key and the file of each whole shard.
        limit: The largest shard, in bytes.

    Attributes:
        keys: The keys of the shards that were stored, by ordinal.
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
        header = tarfile.TarInfo(f"{sha256}.{suffix}")
        header.size = len(data)
        self._write(header.tobuf(tarfile.USTAR_FORMAT))
        place = Place(str(len(self.keys)), self._size, len(data))
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))
        return place

    def _begin(self) -> None:
        self._file = self._path.open("wb")
        self._digest, self._size = hashlib.sha256(), 0
        self._write(tarfile.TarInfo.create_pax_global_header({"comment": f"visionyard {self._maker} {len(self.keys)}"}))

    def _write(self, data: bytes) -> None:
        if self._file is None:
            raise RuntimeError("no shard is open")
        self._file.write(data)
        self._digest.update(data)
        self._size += len(data)

    def close(self) -> None:
        """Ends the shard that is being written, if there is one, and stores it."""
        if self._file is None:
            return
        self._write(_END)
        self._file.close()
        self._file = None
        key = f"{shard_prefix(self._project)}{self._digest.hexdigest()}.tar"
        self._store(key, self._path)
        self.keys.append(key)
        self.stored_bytes += self._size
        self._path.unlink()

    def resolve(self, place: Place) -> Place:
        """The place with its shard's key, once that was stored."""
        return Place(self.keys[int(place.shard)], place.offset, place.length) if place.shard.isdigit() else place
