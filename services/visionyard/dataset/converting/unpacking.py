"""An archive into a private folder, for a program that wants files: under the same limits as any reading, and only as much as the disk can spare."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

from visionyard.dataset.archives.entry import Archive, Entry
from visionyard.kit.errors import Reason, YardError

_BYTES_A_LOOK = 64 << 20
"""Between two looks at the disk."""
_BLOCK_BYTES = 4096
"""What even the smallest file takes."""


def unpack(archive: Archive, folder: Path, reserve_bytes: int, on_file: Callable[[int], None]) -> None:
    """Writes an archive's files below a folder; of several of one path the first. What is not the data set's own is left out, as everywhere.

    Args:
        archive: The archive; it has cleaned its paths, and holds no links.
        folder: An empty folder that only this process uses.
        reserve_bytes: What stays free on the disk.
        on_file: Called with the number of files so far; may raise to stop.

    Raises:
        YardError: DISK_FULL; ARCHIVE_UNSAFE_PATH, a path is no file's name, or a file's and a folder's; REQUEST_TOO_LARGE, a file is larger than any that is read;
            what :meth:`Archive.read` raises.
    """
    room = _Room(folder, reserve_bytes)
    for count, (entry, data) in enumerate(archive.read(lambda _: True), start=1):
        on_file(count)
        if data is None:
            raise _too_large(archive, entry)
        room.take(len(data))
        try:
            _write(folder / entry.path, data)
        except (NotADirectoryError, IsADirectoryError) as error:
            raise archive.unsafe(entry.path, "which is a file's path and a folder's") from error
        except (ValueError, UnicodeError) as error:
            raise archive.unsafe(entry.path, "which no file can be called") from error
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise archive.unsafe(entry.path, "a name too long for a file") from error
            raise


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # what mkdir says where a file lies in the way
        raise NotADirectoryError(error.errno, error.strerror, error.filename) from error
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        if path.is_dir():
            raise IsADirectoryError(error.errno, error.strerror, error.filename) from error


def _too_large(archive: Archive, entry: Entry) -> YardError:
    limit = archive.limits.file_bytes
    return YardError(
        Reason.REQUEST_TOO_LARGE,
        f"{archive.name} holds {entry.path} of {entry.size} bytes, and no file of more than {limit} is read: divide it, or leave it out",
        {"size_bytes": str(entry.size), "limit_bytes": str(limit)},
    )


class _Room:
    """How much of the disk may still be taken."""

    def __init__(self, folder: Path, reserve_bytes: int) -> None:
        self._folder = folder
        self._reserve = reserve_bytes
        self._left = 0

    def take(self, size: int) -> None:
        self._left -= size + _BLOCK_BYTES
        if self._left < 0:
            free = shutil.disk_usage(self._folder).free - self._reserve
            if size + _BLOCK_BYTES > free:
                raise YardError(
                    Reason.DISK_FULL,
                    "the source does not fit on this machine's disk unpacked, as Datumaro wants it: free some, or give VISIONYARD_WORK_DIR a larger disk",
                    {"path": "VISIONYARD_WORK_DIR"},
                )
            self._left = min(_BYTES_A_LOOK, free)
