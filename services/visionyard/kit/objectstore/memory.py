"""An object store in memory for unit tests. It keeps the same contract as the real ones (``tests/contract``).

It is as coarse as S3 where that matters to its callers: times are whole seconds, and the etag is the MD5 of the bytes, so that writing the
same bytes again does not change it.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from visionyard.kit.objectstore.files import check_key, check_range, whole_file
from visionyard.kit.objectstore.port import Conflict, Listing, NotFound, ObjectInfo, ObjectStore, Stored


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryObjectStore(ObjectStore):
    """Holds everything in a dictionary. Safe for threads.

    Args:
        clock: The store's clock, timezone-aware; tests give their own to let time pass.
    """

    def __init__(self, clock: Callable[[], datetime] = _utc_now) -> None:
        self._clock = clock
        self._objects: dict[str, tuple[bytes, str, datetime]] = {}
        self._lock = threading.RLock()

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC).replace(microsecond=0)

    def _find(self, key: str) -> tuple[bytes, ObjectInfo]:
        with self._lock:
            found = self._objects.get(check_key(key))
            if found is None:
                raise NotFound(key)
            data, etag, last_modified = found
            return data, ObjectInfo(key, len(data), etag, last_modified, self._now())

    def _write(self, key: str, data: bytes) -> str:
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        self._objects[check_key(key)] = (bytes(data), etag, self._now())
        return etag

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Stored:
        """See the port."""
        check_range(offset, length)
        data, info = self._find(key)
        return Stored(info, data[offset : None if length is None else offset + length])

    def get_if_changed(self, key: str, etag: str) -> Stored | None:
        """See the port."""
        data, info = self._find(key)
        return None if info.etag == etag else Stored(info, data)

    def head(self, key: str) -> ObjectInfo:
        """See the port."""
        return self._find(key)[1]

    def put(self, key: str, data: bytes) -> str:
        """See the port."""
        with self._lock:
            return self._write(key, data)

    def create(self, key: str, data: bytes) -> str:
        """See the port."""
        with self._lock:
            if key in self._objects:
                raise Conflict(key)
            return self._write(key, data)

    def compare_and_swap(self, key: str, data: bytes, etag: str) -> str:
        """See the port."""
        with self._lock:
            found = self._objects.get(key)
            if found is None or found[1] != etag:
                raise Conflict(key)
            return self._write(key, data)

    def put_file(self, key: str, path: Path) -> str:
        """See the port; the file is read into memory."""
        return self.put(key, path.read_bytes())

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """See the port."""
        data, info = self._find(key)
        with whole_file(path) as file:
            file.write(data)
        return info

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See the port."""
        return io.BytesIO(self.get(key, offset, length).data)

    def list(self, prefix: str, *, start_after: str = "", delimiter: str = "", limit: int | None = None) -> Iterator[Listing]:
        """See the port; what the listing shows is fixed when it begins."""
        if delimiter not in {"", "/"}:
            raise ValueError(f"the delimiter must be '/' or empty, but is {delimiter!r}")
        with self._lock:
            # Python compares strings by code points, which is the order of their UTF-8 bytes.
            found = sorted((key, value) for key, value in self._objects.items() if key.startswith(prefix))
        return _entries(found, prefix, start_after, delimiter, limit)

    def delete(self, key: str) -> None:
        """See the port."""
        with self._lock:
            self._objects.pop(check_key(key), None)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See the port."""
        for key in keys:
            self.delete(key)


def _entries(
    found: list[tuple[str, tuple[bytes, str, datetime]]], prefix: str, start_after: str, delimiter: str, limit: int | None
) -> Iterator[Listing]:
    last_prefix: str | None = None
    count = 0
    for key, (data, etag, last_modified) in found:
        folded = _common_prefix(key, prefix, delimiter)
        entry = Listing(folded, 0, "", None, is_prefix=True) if folded else Listing(key, len(data), etag, last_modified)
        # S3 compares a common prefix itself, not the keys below it, with start_after.
        if entry.key <= start_after or (entry.is_prefix and entry.key == last_prefix):
            continue
        if limit is not None and count >= limit:
            return
        last_prefix = folded
        count += 1
        yield entry


def _common_prefix(key: str, prefix: str, delimiter: str) -> str | None:
    if not delimiter:
        return None
    end = key.find(delimiter, len(prefix))
    return None if end < 0 else key[: end + len(delimiter)]
