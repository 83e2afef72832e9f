"""The object store as every room sees it. All calls block; on an event loop they run in a thread.

The contract is held by one suite, ``tests/contract``, against every store at hand.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO


class NotFound(LookupError):
    """There is no object of that key."""


class Conflict(Exception):
    """A conditional write found the object other than it asked for: nothing was written."""


class OutcomeUnknown(Exception):
    """A conditional write got no answer, so it may or may not have happened. Read back before doing anything else."""


class StoreUnavailable(Exception):
    """The store did not answer within the time that retrying may take, or answered with an error of its own (5xx)."""


class StoreFull(StoreUnavailable):
    """The store has no room left (507, or its error code says so)."""


@dataclass(frozen=True)
class ObjectInfo:
    """What the store knows of an object.

    Attributes:
        key: Its key.
        size: Its size in bytes.
        etag: Changes with every write; without quotes.
        last_modified: When it was written, by the store's clock, UTC; whole seconds on S3.
        now: The store's clock when it answered, UTC; whole seconds on S3.
    """

    key: str
    size: int
    etag: str
    last_modified: datetime
    now: datetime


@dataclass(frozen=True)
class Stored:
    """An object's bytes with what the store knows of it."""

    info: ObjectInfo
    data: bytes


@dataclass(frozen=True)
class Listing:
    """One entry of a listing: an object, or with a delimiter a common prefix (then size 0, no etag)."""

    key: str
    size: int
    etag: str
    last_modified: datetime | None
    is_prefix: bool = False


class ObjectStore(abc.ABC):
    """Bytes under keys. Every method may raise StoreUnavailable; reads and plain writes are retried until then, conditional writes never."""

    @abc.abstractmethod
    def get(self, key: str, offset: int = 0, length: int | None = None) -> Stored:
        """Reads ``length`` bytes from ``offset`` on, or all to the end.

        Raises:
            NotFound: no such object.
        """

    @abc.abstractmethod
    def get_if_changed(self, key: str, etag: str) -> Stored | None:
        """Reads the object unless its etag is still ``etag``; then None.

        Raises:
            NotFound: no such object.
        """

    @abc.abstractmethod
    def head(self, key: str) -> ObjectInfo:
        """Reads no bytes.

        Raises:
            NotFound: no such object.
        """

    @abc.abstractmethod
    def put(self, key: str, data: bytes) -> str:
        """Writes unconditionally; returns the etag. For objects with one writer, or whose content is fixed by their key."""

    @abc.abstractmethod
    def create(self, key: str, data: bytes) -> str:
        """Writes only if there is no such object; returns the etag.

        Raises:
            Conflict: there is one.
            OutcomeUnknown: no answer came.
        """

    @abc.abstractmethod
    def compare_and_swap(self, key: str, data: bytes, etag: str) -> str:
        """Writes only if the object's etag is ``etag``; returns the new one.

        Raises:
            Conflict: it has another, or is gone.
            OutcomeUnknown: no answer came.
        """

    @abc.abstractmethod
    def put_file(self, key: str, path: Path) -> str:
        """Writes a file of any size with flat memory; returns the etag. Killed over it, it leaves nothing (of one above 4 GiB parts may be left)."""

    @abc.abstractmethod
    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """Reads an object of any size into a file with flat memory; the file is there whole or not at all.

        Raises:
            NotFound: no such object.
            OSError: the disk refused it.
        """

    @abc.abstractmethod
    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """A stream of the object's bytes for reading once, front to back. Close it.

        Raises:
            NotFound: no such object.
        """

    @abc.abstractmethod
    def list(self, prefix: str, *, start_after: str = "", delimiter: str = "", limit: int | None = None) -> Iterator[Listing]:
        """Objects whose key begins with ``prefix``, at most ``limit``, only those whose key is greater than ``start_after``.

        With the delimiter ``/`` keys that hold it behind the prefix are folded into their common prefixes (``a/``), and the entries come in the order
        of their keys' UTF-8 bytes. ``start_after`` is compared with the entry: ``a/`` and ``a/1`` both skip the folder ``a/``.

        Without a delimiter the same holds where no key has a slash behind the prefix. Else the order between folders is the store's own (S3: by
        bytes; SeaweedFS walks folders), and ``start_after`` is of no use.

        A folder may be listed for a while after its last object was deleted (SeaweedFS).

        Raises:
            ValueError: another delimiter.
        """

    @abc.abstractmethod
    def delete(self, key: str) -> None:
        """Deletes; a missing object is no error."""

    @abc.abstractmethod
    def delete_many(self, keys: Iterable[str]) -> None:
        """Deletes several, in few requests; missing ones are no error."""
