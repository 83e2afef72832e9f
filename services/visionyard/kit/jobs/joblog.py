"""A job's log in the bucket: what its workers printed, in immutable chunks named by their offset, merged into one at the end of an attempt."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from visionyard.kit.jobs.model import Job, attempt_prefix
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import NotFound, ObjectStore, StoreUnavailable

_log = logging.getLogger(__name__)
CHUNK_BYTES = 4 << 20
"""The largest chunk that is read and written at once."""
LIMIT_BYTES = 64 << 20
"""The most of one attempt's output that is kept; the rest is cut with a note."""
_QUICK_FOR_S = 300.0
_CUT = b"\n[the log was cut here: it is longer than 64 MiB]\n"


def log_prefix(name: ResourceName, attempt: int) -> str:
    """Where one attempt's chunks lie."""
    return f"{attempt_prefix(name, attempt)}log/"


def _chunk_key(name: ResourceName, attempt: int, offset: int) -> str:
    return f"{log_prefix(name, attempt)}{offset:012d}"


class LogShipper:
    """Copies a worker's output file into the bucket while it grows, and whole when it is complete.

    Args:
        store: The bucket.
        job: The job, claimed for this attempt.
        path: The file that stdout and stderr go to.
    """

    def __init__(self, store: ObjectStore, job: Job, path: Path) -> None:
        self._store = store
        self._job = job
        self._path = path
        self._shipped = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="joblog", daemon=True)

    def start(self) -> None:
        """Begins to ship in the background."""
        self._thread.start()

    def _follow(self) -> None:
        # Quick at first, when people look; rarer later, so that a long run does not leave thousands of objects until it ends.
        began = time.monotonic()
        while not self._closed.wait(1.0 if time.monotonic() - began < _QUICK_FOR_S else 10.0):
            self._ship()

    def catch_up(self) -> None:
        """Ships what is there by now, so that whoever hears of the job's end finds what was printed before it; trouble is only logged."""
        while self._ship():
            pass

    def _ship(self) -> bool:
        """Ships one chunk; whether there was one."""
        try:
            with self._lock:
                return self._shipped < LIMIT_BYTES and self._ship_chunk()
        except (StoreUnavailable, OSError) as error:
            _log.warning("the log could not be shipped: %s", error)
            return False

    def _ship_chunk(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(self._shipped)
            data = file.read(CHUNK_BYTES)
        whole = data[: data.rfind(b"\n") + 1]
        if whole:
            self._store.put(_chunk_key(self._job.name, self._job.attempt, self._shipped), whole)
            self._shipped += len(whole)
        return bool(whole)

    def close(self) -> None:
        """Ships all of it as one chunk and deletes the others; trouble with the store is only logged."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout=60)
        merge(self._store, self._job.name, self._job.attempt, self._path)


def merge(store: ObjectStore, name: ResourceName, attempt: int, path: Path) -> None:
    """Replaces an attempt's chunks by one that holds the whole file (cut at ``LIMIT_BYTES``)."""
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
        if len(data) > LIMIT_BYTES:
            data = data[:LIMIT_BYTES] + _CUT
        if not data:
            return
        first = _chunk_key(name, attempt, 0)
        store.put(first, data)
        store.delete_many([entry.key for entry in store.list(log_prefix(name, attempt)) if entry.key != first])
    except (StoreUnavailable, OSError) as error:
        _log.warning("the log of %s could not be merged: %s", name, error)


class LogReader:
    """Reads the log of all attempts, one after the other, and goes on where it was: a look at what has come since costs two requests, however long the log is.

    Args:
        store: The bucket.
        name: The job.
        offset: Where to begin, in bytes.
    """

    def __init__(self, store: ObjectStore, name: ResourceName, offset: int) -> None:
        self._store = store
        self._name = name
        self._offset = offset
        self._attempt = 1
        self._base = 0
        self._position = 0
        self._last = ""

    def read(self, attempts: int) -> Iterator[tuple[int, bytes]]:
        """What there is behind what was read, as (offset, bytes) of whole lines.

        Args:
            attempts: How many the job has had.
        """
        while True:
            yield from self._new()
            if self._attempt >= attempts:
                return
            self._base, self._position, self._last = self._base + self._position, 0, ""
            self._attempt += 1

    def _new(self) -> Iterator[tuple[int, bytes]]:
        for entry in list(self._store.list(log_prefix(self._name, self._attempt), start_after=self._last)):
            start = int(entry.key.rsplit("/", 1)[1])
            yield from self._from(entry.key, start, start + entry.size)
            if self._position < start + entry.size:
                break
            self._last = entry.key
        if not self._position:
            return
        # At its end an attempt's log lies whole in the place of its first chunk.
        first = _chunk_key(self._name, self._attempt, 0)
        with suppress(NotFound):
            yield from self._from(first, 0, self._store.head(first).size)

    def _from(self, key: str, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """What of a chunk was not read yet."""
        begin = max(self._position, start, self._offset - self._base)
        while begin < end:
            length = min(CHUNK_BYTES, end - begin)
            try:
                data = self._store.get(key, begin - start, length).data
            except NotFound:  # merged meanwhile
                return
            if not data:
                return
            self._position = begin + len(data)
            yield self._base + begin, data
            begin += len(data)
        self._position = max(self._position, end)


def read(store: ObjectStore, name: ResourceName, attempts: int, offset: int) -> Iterator[tuple[int, bytes]]:
    """The log of all attempts from ``offset`` on, once; see :class:`LogReader`."""
    yield from LogReader(store, name, offset).read(attempts)
