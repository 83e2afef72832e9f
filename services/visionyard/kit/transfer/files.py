"""Stored files in chunks, from any offset on."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import google_crc32c

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.objectstore.port import NotFound, ObjectStore

CHUNK_BYTES = 1024 * 1024
"""The size of a chunk that is sent."""


@dataclass(frozen=True)
class FileLocation:
    """Where a resource's file lies.

    Attributes:
        key: Its object; immutable, or it may change while it is read.
        size: Its size, in bytes.
        sha256: The sha256 of its bytes, 64 hexadecimal digits, where the room knows it.
    """

    key: str
    size: int
    sha256: str = ""


class FileResolver(Protocol):
    """What a room knows of its resources' files."""

    def resolve(self, name: str, path: str) -> FileLocation:
        """Finds a file. May block.

        Args:
            name: The resource, as the request has it.
            path: The file's path in the resource, as its list of files gives it; compared, never joined to anything.

        Raises:
            YardError: INVALID_NAME; FILE_NOT_FOUND; the resource's own NOT_FOUND.
            StoreUnavailable: the store does not answer.
        """


@dataclass(frozen=True)
class Chunk:
    """Some bytes of a file.

    Attributes:
        offset: Where they begin in the file.
        data: The bytes, at most 1 MiB.
        crc32c: Their CRC-32C (Castagnoli).
    """

    offset: int
    data: bytes
    crc32c: int


def file_not_found(name: str, path: str) -> YardError:
    """The error for a path that a resource does not hold."""
    return YardError(Reason.FILE_NOT_FOUND, f"{name} holds no file {path!r}: ask for the list of its files", {"name": name, "path": path})


def read_chunks(store: ObjectStore, location: FileLocation, offset: int) -> Generator[Chunk, None, None]:
    """Reads a file from ``offset`` on with flat memory. Blocks at each step; at the file's end one empty chunk is given, so that there is always one.

    Raises:
        YardError: INVALID_FIELD, the offset lies outside of the file.
        NotFound: there is no such object.
        StoreUnavailable: the store does not answer.
    """
    if not 0 <= offset <= location.size:
        raise invalid_field("offset", f"must be from 0 to the file's size, {location.size}, but is {offset}")
    if offset == location.size:
        yield Chunk(offset, b"", google_crc32c.value(b""))
        return
    with store.open(location.key, offset, location.size - offset) as stream:
        while data := stream.read(CHUNK_BYTES):
            yield Chunk(offset, data, google_crc32c.value(data))
            offset += len(data)
    if offset < location.size:
        raise NotFound(f"{location.key} ends at {offset}, before {location.size}")
