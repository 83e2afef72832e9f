"""A folder of objects, read as an archive is: the same limits and checks of paths, its files one after the other, some fetched ahead."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from visionyard.dataset.archives.entry import Archive, ArchiveLimits, Entry, T, Wanted, is_clutter
from visionyard.dataset.fetching.addresses import SourceUrl, unreachable
from visionyard.dataset.fetching.patience import FetchLimits, Patience
from visionyard.dataset.fetching.port import Check, Fetched, Progress, SourceBroken
from visionyard.kit.objectstore.port import Listing

_THREADS = 8
_AHEAD = 24
_AHEAD_BYTES = 64 << 20
_LOOK_S = 0.2


class Folder(Protocol):
    """A folder of an object store."""

    @property
    def prefix(self) -> str:
        """What its keys begin with."""
        ...

    def list(self) -> Iterator[Listing]:
        """Its objects. Raises SourceBroken or YardError."""
        ...

    def get(self, entry: Listing) -> bytes:
        """The bytes of one, at most as many as were listed. Raises SourceBroken or YardError. Called from several threads."""
        ...


class ObjectFolder(Archive):
    """The objects below a prefix, by key; their paths are relative to it.

    Args:
        url: What it is called.
        folder: The folder.
        archive_limits: What it may ask of the machine as an archive.
        limits: How long its source may fail.
        check: Raises where the work is to stop.
        progress: Hears how far the listing is.

    Attributes:
        fetched: What it is, for the version's provenance.

    Raises:
        YardError: SOURCE_UNREACHABLE, ARCHIVE_BOMB, ARCHIVE_UNSAFE_PATH; or what ``check`` raises.
    """

    def __init__(
        self, url: SourceUrl, folder: Folder, archive_limits: ArchiveLimits, limits: FetchLimits, check: Check, progress: Progress
    ) -> None:
        super().__init__(url.shown, archive_limits)
        self._url = url
        self._folder = folder
        self._limits = limits
        self._check = check
        self._progress = progress
        self._objects = self._listed()
        self.fetched = self._describe()

    def read(self, wanted: Wanted) -> Iterator[tuple[Entry, bytes | None]]:
        """See :meth:`Archive.read`. ``wanted`` is asked some files ahead.

        Raises:
            YardError: SOURCE_UNREACHABLE.
        """
        listed = (
            (Entry(path, entry.size, entry.size > self.limits.file_bytes, place), entry)
            for place, (path, entry) in enumerate(self._objects)
        )
        return self._each((file, entry, not file.too_large and wanted(file)) for file, entry in listed)

    def fetch(self, files: Iterable[tuple[int, int, T]]) -> Iterator[tuple[T, bytes | None]]:
        """See :meth:`Archive.fetch`.

        Raises:
            YardError: SOURCE_UNREACHABLE.
        """
        return self._each((item, self._objects[place][1], size <= self.limits.file_bytes) for place, size, item in files)

    def _each(self, items: Iterable[tuple[T, Listing, bool]]) -> Iterator[tuple[T, bytes | None]]:
        """Each item with the bytes of its object, if they are to be had; some are fetched ahead."""
        ahead: deque[tuple[T, Listing, Future[bytes] | None]] = deque()
        held = 0
        with ThreadPoolExecutor(_THREADS, "source") as pool:
            try:
                for item, entry, take in items:
                    ahead.append((item, entry, pool.submit(self._folder.get, entry) if take else None))
                    held += entry.size if take else 0
                    while len(ahead) > _AHEAD or held > _AHEAD_BYTES:
                        yield self._next(ahead.popleft())
                        held = sum(listed.size for _, listed, future in ahead if future is not None)
                while ahead:
                    yield self._next(ahead.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _next(self, item: tuple[T, Listing, Future[bytes] | None]) -> tuple[T, bytes | None]:
        file, entry, future = item
        if future is None:
            return file, None
        while True:
            try:
                return file, future.result(_LOOK_S)
            except TimeoutError:
                if future.done():
                    raise
                self._check()
            except SourceBroken as error:
                return file, self._again(entry, error)

    def _again(self, entry: Listing, error: SourceBroken) -> bytes:
        """An object that could not be read at the first attempt."""
        patience = Patience(self._url, self._limits, self._check, known=True)
        while True:
            patience.failed(error, 0)
            try:
                return self._folder.get(entry)
            except SourceBroken as next_error:
                error = next_error

    def _listed(self) -> list[tuple[str, Listing]]:
        patience = Patience(self._url, self._limits, self._check)
        while True:
            try:
                return self._list_once()
            except SourceBroken as error:
                patience.failed(error, 0)

    def _list_once(self) -> list[tuple[str, Listing]]:
        found: list[tuple[str, Listing]] = []
        total = 0
        for count, entry in enumerate(self._folder.list(), start=1):
            self.check_count(count)
            self._check()
            self._progress("fetching", count, 0, "files")
            name = entry.key.removeprefix(self._folder.prefix)
            if entry.is_prefix or entry.key.endswith("/"):
                continue  # what some tools leave to show an empty folder
            path = self.clean(name)
            total += entry.size
            if total > self.limits.unpacked_bytes:
                raise self.bomb(f"holds more than {self.limits.unpacked_bytes} bytes", self.limits.unpacked_bytes)
            if not is_clutter(path):
                found.append((path, entry))
        if not found:
            raise unreachable(self._url, "is not there, or empty: look whether bucket and key are right")
        return sorted(found, key=lambda item: item[1].key)

    def _describe(self) -> Fetched:
        listing = hashlib.sha256()
        for path, entry in self._objects:
            listing.update(f"{entry.etag} {entry.size} {path}\n".encode())
        return Fetched(self._url.shown, listing.hexdigest(), sum(entry.size for _, entry in self._objects), objects=len(self._objects))
