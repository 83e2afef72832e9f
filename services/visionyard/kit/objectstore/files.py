"""Files that are there whole or not at all, and the check of keys: what every adapter shares."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

MAX_KEY_BYTES = 1024
"""The longest key that S3 takes, in UTF-8 bytes."""
_UNSAFE_SEGMENTS = {"", ".", ".."}


def check_key(key: str) -> str:
    """Returns ``key`` if every store keeps it as it is.

    Stores over a file system (SeaweedFS, MinIO) fold ``//``, ``.`` and ``..`` or refuse them, so none of them may stand between slashes;
    SeaweedFS 4.48 turns backslashes into slashes.

    Raises:
        ValueError: it is empty, too long, holds control characters or a backslash, or begins, ends or is folded with a slash.
    """
    plain = bool(key) and len(key.encode()) <= MAX_KEY_BYTES and key.isprintable() and "\\" not in key
    if not plain or _UNSAFE_SEGMENTS.intersection(key.split("/")):
        raise ValueError(f"{key[:200]!r} cannot be an object's key")
    return key


def check_range(offset: int, length: int | None) -> None:
    """Raises ValueError for a negative offset or length."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError(f"offset {offset} and length {length} must be 0 or more")


class FileBody:
    """A file as the body of a request, in large chunks. Each iteration begins anew, so a request that failed can be sent again.

    Args:
        path: The file.
        chunk_bytes: How much is read and sent at once.
    """

    def __init__(self, path: Path, chunk_bytes: int) -> None:
        self._path = path
        self._chunk_bytes = chunk_bytes
        self.size = path.stat().st_size

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb", buffering=0) as file:
            while chunk := file.read(self._chunk_bytes):
                yield chunk


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file beside ``path`` for writing and gives it that name when the block ends well; after an error nothing is left of it.

    Raises:
        OSError: the disk refused it.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
