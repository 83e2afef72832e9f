"""Tar archives, plain, gzip or zstd: read block by block with flat memory (POSIX.1-2024 pax, "ustar Interchange Format"; GNU tar's long names).

Python's ``tarfile`` parses the single header block; it does not read the archive, because it keeps every member and reads extended headers of any size.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

import zstandard

from visionyard.dataset.archives.entry import Archive, ArchiveLimits, Entry, T, Wanted, is_clutter
from visionyard.kit.errors import Reason, YardError

_BLOCK = 512
_SKIP_BYTES = 1 << 20
_SEEK_BYTES = 4096
"""What is shorter is read rather than sought over."""
_EXTENDED_MAX_BYTES = 1 << 20
_ZSTD_MAX_WINDOW = 128 << 20
_GNU_LONG_NAME, _GNU_LONG_LINK = b"L", b"K"
_PAX, _PAX_GLOBAL = b"x", b"g"
_GNU_SPARSE = b"S"
_REGULAR = frozenset({b"0", b"\0", b"7"})
_FOLDER = b"5"
_PLAIN_HEADER = re.compile(
    rb"(.{100})(?:[0-7]{6}[0-7 ]\0){3}([0-7]{11})[\0 ][0-7]{11}[\0 ]([0-7]{6})\0 ([0-7gx])(?:.{100})ustar(?:\x0000|  \0).{64}(?:(?:[0-7]{6}[0-7 ]\0){2}|\0{16})(.{155}).{12}",
    re.DOTALL,
)
"""Headers as GNU tar, bsdtar and Python write them: name, size, checksum, type, prefix; all numbers in octal digits, and a type that says nothing of its own."""
_CHECKSUM = slice(148, 156)


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Header(NamedTuple):
    """What of a header block counts.

    Attributes:
        name: The path, the prefix before it.
        type: One byte.
        size: In bytes.
    """

    name: str
    type: bytes
    size: int


def _read_header(block: bytes) -> _Header:
    """Reads a header block.

    ``tarfile`` takes 60 microseconds for one, four times for each image; the form that nearly all have is read here, with the same outcome.

    Raises:
        tarfile.HeaderError: it is none.
    """
    plain = _PLAIN_HEADER.fullmatch(block)
    if plain is not None:
        name, size, checksum, kind, prefix = plain.groups()
        if sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ") == int(checksum, 8):
            path, above = _text(name), _text(prefix)
            if kind == _FOLDER:
                path = path.rstrip("/")
            return _Header(f"{above}/{path}" if above else path, kind, int(size, 8))
    header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    return _Header(header.name, header.type, header.size)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


class TarArchive(Archive):
    """A tar archive.

    Args:
        file: Its bytes; seekable.
        size: How many they are.
        packing: ``""``, ``gzip`` or ``zstd``.
        name: What the user calls it.
        limits: What it may ask of the machine.
    """

    def __init__(self, file: BinaryIO, size: int, packing: str, name: str, limits: ArchiveLimits) -> None:
        super().__init__(name, limits)
        self._file = file
        self._size = size
        self._packing = packing

    def truncated(self) -> YardError:
        """An ARCHIVE_TRUNCATED error."""
        return self.error(Reason.ARCHIVE_TRUNCATED, "ends too early: upload or download it again, whole")

    def damaged(self, why: str) -> YardError:
        """An ARCHIVE_UNREADABLE error."""
        return self.error(Reason.ARCHIVE_UNREADABLE, f"is a damaged tar archive ({why}): pack or download it again")

    def read(self, wanted: Wanted) -> Iterator[tuple[Entry, bytes | None]]:
        """See :meth:`Archive.read`."""
        blocks = self._blocks()
        override, count = _Override(), 0
        while (header := self._header(blocks, count)) is not None:
            count += 1
            self.check_count(count)
            if header.type in {_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL}:
                self._extend(override, header.type, blocks.take(header.size, _EXTENDED_MAX_BYTES))
                continue
            path = self.clean(override.path or header.name)
            size = header.size if override.size is None else override.size
            if override.sparse or header.type == _GNU_SPARSE:
                raise self.error(Reason.ARCHIVE_UNREADABLE, f"holds {path!r} as a sparse file: pack it again without --sparse")
            override = _Override()
            if header.type == _FOLDER:
                continue
            if header.type not in _REGULAR:
                raise self.unsafe(path, "a link or device")
            entry = Entry(path, size, size > self.limits.file_bytes, blocks.position)
            if is_clutter(path):
                blocks.skip(size)
            elif entry.too_large or not wanted(entry):
                blocks.skip(size)
                yield entry, None
            else:
                yield entry, blocks.take(size, self.limits.file_bytes)

    def fetch(self, files: Iterable[tuple[int, int, T]]) -> Iterator[tuple[T, bytes | None]]:
        """See :meth:`Archive.fetch`."""
        blocks = self._blocks()
        for place, size, item in files:
            if size > self.limits.file_bytes:
                yield item, None
                continue
            blocks.skip(place - blocks.position)
            yield item, blocks.take(size, self.limits.file_bytes)

    def _blocks(self) -> _Blocks:
        """The archive from its beginning on."""
        self._file.seek(0)
        return _Blocks(self, self._unpacked(), self._file, self._size, seekable=not self._packing)

    def _unpacked(self) -> _Reader:
        if self._packing == "gzip":
            return gzip.GzipFile(fileobj=self._file, mode="rb")
        if self._packing == "zstd":
            return zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW).stream_reader(
                self._file, read_across_frames=True, closefd=False
            )
        return self._file

    def _header(self, blocks: _Blocks, count: int) -> _Header | None:
        """The next header, or None at the end mark."""
        block = blocks.take(_BLOCK, _BLOCK)
        if not block.strip(b"\0"):
            return None
        try:
            header = _read_header(block)
        except tarfile.HeaderError as error:
            if count:
                raise self.damaged("the header of an entry cannot be read") from error
            raise self.error(
                Reason.ARCHIVE_UNREADABLE, "is no archive that is read here: use zip, tar, tar.gz or tar.zst, or a folder"
            ) from error
        if header.size < 0:
            raise self.damaged("an entry has a negative size")
        return header

    def _extend(self, override: _Override, kind: bytes, data: bytes) -> None:
        if kind == _GNU_LONG_NAME:
            override.path = data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        elif kind == _PAX:
            try:
                override.apply(data)
            except ValueError as error:
                raise self.damaged("an extended header cannot be read") from error
        # A global header and the name of a link say nothing about a file's path or size.


class _Override:
    """What the headers before an entry's own say about it."""

    def __init__(self) -> None:
        self.path = ""
        self.size: int | None = None
        self.sparse = False

    def apply(self, data: bytes) -> None:
        """Reads pax records: ``length key=value`` and a line feed."""
        position = 0
        while position < len(data) and data[position] != 0:
            space = data.index(b" ", position, position + 20)
            length = int(data[position:space])
            if length < space - position + 3 or position + length > len(data):
                raise ValueError("record length")
            key, _, value = data[space + 1 : position + length - 1].partition(b"=")
            if key == b"path":
                self.path = value.decode("utf-8", "surrogateescape")
            elif key == b"size":
                self.size = int(value)
                if self.size < 0:
                    raise ValueError("size")
            elif key.startswith(b"GNU.sparse"):
                self.sparse = True
            position += length


class _Blocks:
    """Bytes in blocks of 512, counted against the limits, and never fewer than asked for.

    Attributes:
        position: How many were taken or passed over.
    """

    def __init__(self, archive: TarArchive, reader: _Reader, file: BinaryIO, size: int, *, seekable: bool) -> None:
        self._archive = archive
        self._reader = reader
        self._file = file
        self._size = size
        self._seekable = seekable
        self.position = 0

    def take(self, size: int, limit: int) -> bytes:
        """The next ``size`` bytes; the padding behind them is passed over."""
        if size > limit:
            raise self._archive.bomb(f"holds an entry of {size} bytes", limit)
        padded = -(-size // _BLOCK) * _BLOCK
        data = self._exactly(padded)
        return data[:size]

    def skip(self, size: int) -> None:
        """Passes over ``size`` bytes and their padding."""
        padded = -(-size // _BLOCK) * _BLOCK
        if self._seekable and padded > _SEEK_BYTES:
            if self._file.tell() + padded > self._size:
                raise self._archive.truncated()
            self._file.seek(padded, io.SEEK_CUR)
            self.position += padded
            return
        while padded:
            padded -= len(self._exactly(min(padded, _SKIP_BYTES)))

    def _exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        left = size
        while left:
            part = self._read(min(left, _SKIP_BYTES))
            if not part:
                raise self._archive.truncated()
            parts.append(part)
            left -= len(part)
            self.position += len(part)
            if not self._seekable:
                self._archive.check_unpacked(self.position, self._file.tell())
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, size: int) -> bytes:
        try:
            return self._reader.read(size)
        except EOFError as error:
            raise self._archive.truncated() from error
        except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise self._archive.damaged("it cannot be unpacked") from error
