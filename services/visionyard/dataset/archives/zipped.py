"""Zip archives. What the central directory says is checked before a byte is unpacked (APPNOTE.TXT 6.3)."""

from __future__ import annotations

import bz2
import copy
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from visionyard.dataset.archives.entry import Archive, ArchiveLimits, Entry, T, Wanted, is_clutter
from visionyard.dataset.archives.zip_names import entry_names
from visionyard.kit.errors import Reason, YardError

_END = b"PK\x05\x06"
_END_SIZE = 22
_COMMENT_MAX = 0xFFFF
_ZIP64_BYTES = 0xFFFFFFFF
_ZIP64_LOCATOR, _ZIP64_LOCATOR_SIZE = b"PK\x06\x07", 20
_ZIP64_END, _ZIP64_END_SIZE = b"PK\x06\x06", 56
_ENCRYPTED = 0x1
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2})
"""LZMA is left out: its header may ask for a dictionary of 4 GiB."""
_DIRECTORY_BYTES_PER_ENTRY = 46
_DIRECTORY_MAX_BYTES = 512 << 20
_PACKED_BYTES = 64 << 10


class ZipArchive(Archive):
    """A zip archive.

    Args:
        file: Its bytes; seekable.
        size: How many they are.
        name: What the user calls it.
        limits: What it may ask of the machine.

    Raises:
        YardError: ARCHIVE_UNREADABLE, ARCHIVE_TRUNCATED, ARCHIVE_ENCRYPTED, ARCHIVE_BOMB, ARCHIVE_UNSAFE_PATH.
    """

    def __init__(self, file: BinaryIO, size: int, name: str, limits: ArchiveLimits) -> None:
        super().__init__(name, limits)
        self._check_end(file, size)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OverflowError, EOFError) as error:
            raise self._damaged("its list of files cannot be read") from error
        self._infos = sorted(self._zip.infolist(), key=lambda info: info.header_offset)
        self._names = entry_names(self._infos)
        self._check_infos(size)

    def _damaged(self, why: str) -> YardError:
        return self.error(Reason.ARCHIVE_UNREADABLE, f"is a damaged zip archive ({why}): pack or download it again")

    def _check_end(self, file: BinaryIO, size: int) -> None:
        """Looks for the end record, and for how large a directory it announces, before zipfile reads that into memory."""
        tail_size = min(size, _END_SIZE + _COMMENT_MAX)
        file.seek(size - tail_size)
        tail = file.read(tail_size)
        at = tail.rfind(_END)
        if at < 0 or len(tail) - at < _END_SIZE:
            raise self.error(Reason.ARCHIVE_TRUNCATED, "ends too early, its list of files is missing: upload or download it again, whole")
        entries, directory_bytes = struct.unpack_from("<HL", tail, at + 10)
        # Where the zip64 locator stands, its record counts (for zipfile too), whatever the end record says; 65,535 entries alone need none.
        before = _ZIP64_LOCATOR_SIZE + _ZIP64_END_SIZE
        end_at = size - tail_size + at
        file.seek(max(0, end_at - before))
        zip64 = file.read(min(before, end_at))
        if zip64[-_ZIP64_LOCATOR_SIZE:].startswith(_ZIP64_LOCATOR):
            if len(zip64) < before or not zip64.startswith(_ZIP64_END):
                raise self._damaged("its zip64 record is missing")
            entries, directory_bytes = struct.unpack_from("<QQ", zip64, 32)
        elif directory_bytes == _ZIP64_BYTES:
            raise self._damaged("its zip64 record is missing")
        self.check_count(entries)
        if directory_bytes > _DIRECTORY_MAX_BYTES:
            raise self.bomb(f"has a list of files of {directory_bytes} bytes", _DIRECTORY_MAX_BYTES)
        if directory_bytes > size or entries * _DIRECTORY_BYTES_PER_ENTRY > directory_bytes:
            raise self.error(Reason.ARCHIVE_TRUNCATED, "is shorter than its list of files says: upload or download it again, whole")

    def _check_infos(self, size: int) -> None:
        self.check_count(len(self._infos))
        unpacked, end = 0, 0
        for info, name in zip(self._infos, self._names, strict=True):
            path = self.clean(name)
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise self.unsafe(path, "a link or device")
            if info.flag_bits & _ENCRYPTED:
                raise self.error(Reason.ARCHIVE_ENCRYPTED, f"is encrypted (as is {path!r}): pack it again without a password")
            if info.compress_type not in _METHODS:
                raise self.error(
                    Reason.ARCHIVE_UNREADABLE,
                    f"packs {path!r} by a method that is not read (number {info.compress_type}): pack it with deflate",
                )
            if info.header_offset < end:
                raise self.bomb(f"uses the same bytes for several files ({path!r})", self.limits.unpacked_bytes)
            end = info.header_offset + info.compress_size
            if end > size:
                raise self.error(Reason.ARCHIVE_TRUNCATED, f"ends before {path!r} does: upload or download it again, whole")
            unpacked += info.file_size
            self.check_unpacked(info.file_size, info.compress_size)
        self.check_unpacked(unpacked, size)

    def read(self, wanted: Wanted) -> Iterator[tuple[Entry, bytes | None]]:
        """See :meth:`Archive.read`; in the order in which the files lie in the archive."""
        for place, (info, name) in enumerate(zip(self._infos, self._names, strict=True)):
            path = self.clean(name)
            if name.endswith("/") or is_clutter(path):
                continue
            entry = Entry(path, info.file_size, info.file_size > self.limits.file_bytes, place)
            yield entry, self._bytes(info, path) if not entry.too_large and wanted(entry) else None

    def fetch(self, files: Iterable[tuple[int, int, T]]) -> Iterator[tuple[T, bytes | None]]:
        """See :meth:`Archive.fetch`."""
        for place, size, item in files:
            yield item, self._bytes(self._infos[place], self.clean(self._names[place])) if size <= self.limits.file_bytes else None

    def _bytes(self, info: zipfile.ZipInfo, path: str) -> bytes:
        try:
            data = self._bunzipped(info) if info.compress_type == zipfile.ZIP_BZIP2 else self._unzipped(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, ValueError) as error:
            raise self._damaged(f"{path!r} cannot be unpacked") from error
        except OSError as error:  # bz2 says so
            if error.errno is not None:
                raise
            raise self._damaged(f"{path!r} cannot be unpacked") from error
        except RuntimeError as error:
            raise self.error(Reason.ARCHIVE_ENCRYPTED, f"is encrypted (as is {path!r}): pack it again without a password") from error
        if len(data) != info.file_size:
            raise self._damaged(f"{path!r} is not as long as announced")
        return data

    def _unzipped(self, info: zipfile.ZipInfo) -> bytes:
        """A stored or deflated file; zipfile unpacks no more than the announced size, and checks the CRC."""
        with self._zip.open(info) as file:
            return file.read(info.file_size + 1)

    def _bunzipped(self, info: zipfile.ZipInfo) -> bytes:
        """A file packed with bzip2, at most one byte more than announced.

        zipfile unpacks bzip2 without a limit: 64 KiB can hold gigabytes of zeros. So it only hands out the packed bytes here, as if they were stored.
        """
        packed = copy.copy(info)
        packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
        del packed.CRC  # that of the unpacked bytes; without it zipfile checks none
        unpacker, parts, left = bz2.BZ2Decompressor(), [], info.file_size + 1
        with self._zip.open(packed) as file:
            while left and not unpacker.eof:
                chunk = file.read(_PACKED_BYTES) if unpacker.needs_input else b""
                if unpacker.needs_input and not chunk:
                    break  # too short, as its length will tell
                parts.append(unpacker.decompress(chunk, left))
                left -= len(parts[-1])
        data = b"".join(parts)
        if len(data) == info.file_size and zlib.crc32(data) != info.CRC:
            raise zipfile.BadZipFile("CRC")
        return data
