"""An object's bytes as a stream that outlives its connections, and what an answer's headers say of the object."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from visionyard.kit.objectstore.port import ObjectInfo, StoreUnavailable
from visionyard.kit.objectstore.transport import Deadline

_READ_BYTES = 1 << 20
"""Read at once: urllib3 puts larger reads together from many pieces, at half the speed."""
Fetch = Callable[[int, int | None, str | None], BaseHTTPResponse | None]
"""Reads from an offset on, at most so many bytes, only if the etag is still this; None where the object ends before."""


def clean_etag(value: str | None) -> str:
    """An etag without its quotes."""
    return (value or "").strip('"')


def read_info(key: str, size: int, headers: Mapping[str, str]) -> ObjectInfo:
    """What an answer's headers say.

    Raises:
        StoreUnavailable: they lack ``Date`` or ``Last-Modified``, by which leases are judged.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        last_modified, now = (parsedate_to_datetime(lower[name]).astimezone(UTC) for name in ("last-modified", "date"))
    except (KeyError, ValueError) as error:
        raise StoreUnavailable(f"the object store does not tell the time of {key}: {error}") from error
    return ObjectInfo(key, size, clean_etag(lower.get("etag")), last_modified, now)


class ObjectStream(io.RawIOBase):
    """An object's bytes, front to back, from one connection after another where they break.

    Args:
        key: The object.
        answer: The first answer; its body has not been read.
        fetch: Reads on where it broke.
        offset: Where the first answer begins, in bytes.
        length: How many bytes were asked for; None for all.
        retry_for_s: How long to go on without getting a byte.
    """

    def __init__(self, key: str, answer: BaseHTTPResponse, fetch: Fetch, offset: int, length: int | None, retry_for_s: float) -> None:
        super().__init__()
        self._key = key
        self._answer: BaseHTTPResponse | None = answer
        self._fetch = fetch
        whole = answer.headers.get("content-range", "").rpartition("/")[2] or answer.headers.get("content-length", "0")
        self.info = read_info(key, int(whole), answer.headers)
        self._position = offset
        self._end = self.info.size if length is None else min(offset + length, self.info.size)
        self._deadline = Deadline(retry_for_s)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: object) -> int:
        """Reads some bytes; 0 at the end.

        Raises:
            StoreUnavailable: the store stayed away, or the object was replaced.
            NotFound: the object is gone.
        """
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type] # typeshed's Buffer is not in collections.abc before 3.12
        while self._position < self._end and len(view):
            data = self._read(min(len(view), self._end - self._position, _READ_BYTES))
            if data:
                view[: len(data)] = data
                self._position += len(data)
                return len(data)
        return 0

    def readall(self) -> bytes:
        """Reads the rest; see :meth:`readinto`."""
        pieces: list[bytes] = []
        while self._position < self._end:
            pieces.append(self._read(min(self._end - self._position, _READ_BYTES)))
            self._position += len(pieces[-1])
        return b"".join(pieces)

    def _read(self, size: int) -> bytes:
        if self._answer is None:
            self._answer = self._fetch(self._position, self._end - self._position, self.info.etag)
            if self._answer is None:
                raise StoreUnavailable(f"{self._key} became shorter while it was read")
        try:
            data: bytes = self._answer.read(size)
        except HTTPError as error:
            self._drop()
            if self._deadline.failed():
                raise StoreUnavailable(f"reading {self._key} broke off again and again: {error}") from error
            return b""
        if not data:
            self._drop()
        else:
            self._deadline.progressed()
        return data

    def _drop(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def close(self) -> None:
        """Gives the connection back if everything was read, else closes it."""
        if self._answer is not None and self._position >= self._end:
            self._answer.release_conn()
            self._answer = None
        self._drop()
        super().close()
