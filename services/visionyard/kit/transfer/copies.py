"""Copies of uploads on the disk of the machine that took them: a worker beside the service need not fetch from the bucket what has just come through.

The bucket stays the one place that counts. A copy is kept only of an upload whose bytes all came in one stream and had the announced sha256; whoever finds none
reads the bucket. A copy goes with its upload, where that is deleted on this machine, else at the next sweep. While it is written it is locked with flock(2), which
ends with its process however that ends: so a sweep, which every service begins with, tells what a killed one left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from visionyard.kit.names import ResourceName

_PART = ".part"
_KEEP_FREE_BYTES = 4 << 30
"""What stays free on the disk for shards, label texts and whatever else the machine does."""


class LocalCopy:
    """A copy that is being written, front to back; there is no file before its first bytes. Where the disk refuses, it is given up silently.

    Safe for threads: a service that stops drops it while a thread still writes.

    Args:
        path: Where it is to be when it is whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._part: Path | None = None
        self._file: BinaryIO | None = None
        self._over = False

    def write(self, data: bytes) -> None:
        """Appends bytes. Blocks."""
        with self._lock:
            if self._over:
                return
            try:
                file = self._file or self._create()
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                self.drop()

    def _create(self) -> BinaryIO:
        handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", suffix=_PART, dir=self._path.parent)
        self._part, self._file = Path(name), os.fdopen(handle, "wb", buffering=0)
        fcntl.flock(handle, fcntl.LOCK_EX)
        return self._file

    def keep(self) -> None:
        """It is whole and its sha256 fits: from now on it is found."""
        with self._lock:
            if self._part is not None:
                with suppress(OSError):
                    self._part.replace(self._path)
                    self._part = None
            self.drop()

    def drop(self) -> None:
        """It is not whole, or of no use; also after :meth:`keep`, when it changes nothing."""
        with self._lock:
            self._over = True
            file, part, self._file, self._part = self._file, self._part, None, None
            if file is not None:
                with suppress(OSError):
                    file.close()
            if part is not None:
                with suppress(OSError):
                    part.unlink()


class LocalCopies:
    """The copies on this machine. Safe for threads and processes.

    Args:
        folder: Where they lie; made where it is not there. Services that share it share the copies.
        keep_free_bytes: No copy is begun that would leave less free on the disk.
    """

    def __init__(self, folder: Path, keep_free_bytes: int = _KEEP_FREE_BYTES) -> None:
        self._folder = folder
        self._keep_free_bytes = keep_free_bytes

    def begin(self, upload: ResourceName, size: int) -> LocalCopy | None:
        """A new copy; None where there is no room for it.

        Args:
            upload: Of what.
            size: How many bytes it will have.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if shutil.disk_usage(self._folder).free - size < self._keep_free_bytes:
                return None
            return LocalCopy(self._path(upload))
        except OSError:
            return None

    def open(self, upload: ResourceName, size: int) -> BinaryIO | None:
        """Opens a copy for reading, unbuffered; None where there is none of that size. Deleting it does not disturb whoever reads it."""
        try:
            file = self._path(upload).open("rb", buffering=0)
        except OSError:
            return None
        if os.fstat(file.fileno()).st_size != size:
            file.close()
            return None
        return file

    def delete(self, upload: ResourceName) -> None:
        """Deletes a copy; none is no error."""
        with suppress(OSError):
            self._path(upload).unlink()

    def sweep(self, is_there: Callable[[ResourceName], bool]) -> None:
        """Deletes the copies of uploads that are gone, and what writers that were killed left.

        Args:
            is_there: Whether the upload of that name is still in the bucket.
        """
        for path, upload in list(self._all()):
            with suppress(OSError):
                if not (_is_being_written(path) if upload is None else is_there(upload)):
                    path.unlink()

    def _path(self, upload: ResourceName) -> Path:
        return self._folder / f"{upload.project}+{upload.id}"

    def _all(self) -> Iterator[tuple[Path, ResourceName | None]]:
        """The files, each with its upload, or None where it is not whole."""
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                project, _, upload = path.name.partition("+")
                yield path, None if path.suffix == _PART else ResourceName(project, "uploads", upload)


def _is_being_written(part: Path) -> bool:
    with part.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
