"""What can be uploaded: a file as it is, or a folder as a deterministic tar stream that can be read from any offset and is never held whole.

The tar: entries sorted by the bytes of their path, regular files only, time 0, mode 0644, owner 0, GNU long names
(https://www.gnu.org/software/tar/manual/html_node/Standard.html). The same folder gives the same bytes on every machine, so an interrupted upload goes on.
"""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import io
import os
import re
import stat
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from visionyard.client.errors import ClientError, local
from visionyard.kit.errors import Reason
from visionyard.kit.tar_header import HeaderTemplate

CHUNK_BYTES = 1 << 20
"""What is read and sent at once."""
_SCHEME = re.compile(r"(https?|s3)://", re.IGNORECASE)
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)


def is_address(text: str) -> bool:
    """Whether a source is named by an address, ``https://``, ``http://`` or ``s3://``, and so is fetched by the service, not uploaded."""
    return _SCHEME.match(text) is not None


class Reader(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, at least one unless it is the end."""
        ...


class Source(ABC):
    """Something to upload.

    Attributes:
        name: What it is called in messages.
        size_bytes: How many bytes it has.
        skipped: Sentences about what was left out.
    """

    name: str
    size_bytes: int
    skipped: tuple[str, ...] = ()
    _digest: str | None = None

    @abstractmethod
    def open(self, offset: int) -> AbstractContextManager[Reader]:
        """A reader of the bytes from ``offset`` on.

        Raises:
            ClientError: a file is gone, cannot be read or has changed its size.
        """

    @property
    def known_sha256(self) -> str:
        """The sha256 of all bytes where :meth:`sha256` was asked for already, else empty."""
        return self._digest or ""

    async def identity(self) -> str:
        """What the same source has in common with itself a moment later, 64 hexadecimal digits, for a command to know that it is the same one.

        The sha256 of the bytes where no cheaper answer is given.

        Raises:
            ClientError: as :meth:`open`.
        """
        return await self.sha256()

    async def sha256(self, on_progress: Callable[[str, int, int], None] | None = None) -> str:
        """The sha256 of all bytes, 64 hexadecimal digits; read once, in a thread, and kept.

        Raises:
            ClientError: as :meth:`open`.
        """
        if self._digest is not None:
            return self._digest
        digest = hashlib.sha256()
        done = 0
        with self.open(0) as reader:
            while chunk := await asyncio.to_thread(_read_into, reader, digest):
                done += chunk
                if on_progress:
                    on_progress("reading", done, self.size_bytes)
        if done != self.size_bytes:
            raise _changed(self.name)
        self._digest = digest.hexdigest()
        return self._digest


def _read_into(reader: Reader, digest: hashlib._Hash) -> int:
    data = reader.read(CHUNK_BYTES)
    digest.update(data)
    return len(data)


def open_source(path: Path) -> Source:
    """The file or folder at ``path``.

    Raises:
        ClientError: NOT_FOUND (FILE_NOT_FOUND) where there is none or it cannot be read, INVALID_ARGUMENT (NO_IMAGES) for a folder without files.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return FolderSource(path)
        if stat.S_ISREG(mode):
            return FileSource(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    raise local(Reason.FILE_NOT_FOUND, f"{path} is neither a file nor a folder", {"path": str(path)})


_ANNOTATIONS = frozenset({".json", ".jsonl", ".csv", ".xml", ".txt"})


def open_labels(path: Path) -> Source:
    """What holds labels: an archive or folder as :func:`open_source`, or a single annotation file, which is sent as a folder of one file.

    Raises:
        ClientError: as :func:`open_source`.
    """
    if path.suffix.lower() in _ANNOTATIONS and path.is_file():
        return FolderSource(path.parent, only=path.name)
    return open_source(path)


class FileSource(Source):
    """A file, sent as it is.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        status = path.stat()
        self.size_bytes = status.st_size
        self._identity = _identity([(os.path.realpath(path), status.st_size, status.st_mtime_ns)])

    async def identity(self) -> str:
        """By path, size and time of change, so that nothing is read."""
        return self._identity

    @contextmanager
    def open(self, offset: int) -> Iterator[Reader]:
        """See :meth:`Source.open`."""
        try:
            file = self.path.open("rb", buffering=0)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        with file:
            file.seek(offset)
            yield _Exactly(file, self.size_bytes - offset, self.name)


@dataclass(frozen=True)
class _Entry:
    """A file at its place in the stream.

    Attributes:
        path: In the tar, with forward slashes.
        file: Where it is.
        size: Of the file in bytes.
        begin: Where its header begins in the stream.
        header: The tar header blocks.
    """

    path: str
    file: str
    size: int
    begin: int
    header: bytes = field(repr=False)

    @property
    def end(self) -> int:
        return self.begin + len(self.header) + self.size + -self.size % _BLOCK


class TarSource(Source):
    """Files as a tar stream.

    Args:
        name: See :class:`Source`.
        files: Path in the tar, where the file is, and its size in bytes.
        identity: What tells it from other sources without reading it; empty: the sha256 of its bytes does.
    """

    def __init__(self, name: str, files: Iterable[tuple[str, str | Path, int]], identity: str = "") -> None:
        self.name = name
        self._identity = identity
        self._entries: list[_Entry] = []
        begin = 0
        for path, file, size in sorted(files, key=lambda item: os.fsencode(item[0])):
            entry = _Entry(path, os.fspath(file), size, begin, _HEADERS.header(path, size))
            self._entries.append(entry)
            begin = entry.end
        self._begins = [entry.begin for entry in self._entries]
        self._end_mark = begin
        self.size_bytes = begin + len(_END)

    async def identity(self) -> str:
        """By the paths, sizes and times of change of the files, so that none is read."""
        return self._identity or await self.sha256()

    @contextmanager
    def open(self, offset: int) -> Iterator[Reader]:
        """See :meth:`Source.open`."""
        chunks = self._chunks(offset)
        try:
            yield _Chunks(chunks)
        finally:
            chunks.close()

    def _chunks(self, offset: int) -> Generator[bytes]:
        first = max(bisect.bisect_right(self._begins, offset) - 1, 0)
        for entry in self._entries[first:]:
            if offset >= entry.end:
                continue
            yield from self._entry_bytes(entry, max(offset - entry.begin, 0))
        yield _END[max(offset - self._end_mark, 0) :]

    def _entry_bytes(self, entry: _Entry, skip: int) -> Iterator[bytes]:
        """The bytes of a header, its file and the padding, the first ``skip`` left out."""
        if skip < len(entry.header):
            yield entry.header[skip:]
        at = max(skip - len(entry.header), 0)
        if at < entry.size:
            try:
                with io.FileIO(entry.file) as file:
                    file.seek(at)
                    reader = _Exactly(file, entry.size - at, entry.path)
                    while data := reader.read(CHUNK_BYTES):
                        yield data
            except OSError as error:
                raise _unreadable(Path(entry.file), error) from error
            at = entry.size
        padding = -entry.size % _BLOCK
        yield bytes(max(padding - (at - entry.size), 0))


class FolderSource(TarSource):
    """A folder as a tar stream.

    Symbolic links and special files are left out and named in ``skipped``: what they point at may be anywhere.

    Args:
        root: Where it is.
        only: The one file of it to send; empty for all.

    Raises:
        ClientError: NOT_FOUND (FILE_NOT_FOUND) where a sub-folder cannot be read, INVALID_ARGUMENT (NO_IMAGES) where there is no file.
    """

    def __init__(self, root: Path, only: str = "") -> None:
        files, left_out = ([_file(only, (root / only).stat())], []) if only else _walk(root)
        if not files:
            raise local(Reason.NO_IMAGES, f"the folder {root} has no files in it", {"path": str(root)})
        if left_out:
            what = "a symbolic link or special file" if len(left_out) == 1 else f"{len(left_out)} symbolic links or special files"
            self.skipped = (f"left out {what}, {left_out[0]} the first: copy the files themselves into the folder",)
        files.sort(key=lambda item: os.fsencode(item[0]))
        identity = _identity([(os.path.realpath(root), 0, 0), *files])
        super().__init__(
            only or f"{root.resolve().name or 'folder'}.tar", ((path, f"{root}/{path}", size) for path, size, _ in files), identity
        )


_File = tuple[str, int, int]
"""A path, its size in bytes and its time of change in nanoseconds."""


def _file(path: str, status: os.stat_result) -> _File:
    return path, status.st_size, status.st_mtime_ns


def _identity(files: Iterable[_File]) -> str:
    digest = hashlib.sha256()
    for path, size, modified in files:
        digest.update(b"%s\0%d %d\n" % (os.fsencode(path), size, modified))
    return digest.hexdigest()


def _walk(root: Path) -> tuple[list[_File], list[str]]:
    """The regular files below ``root`` by their relative paths, and what is something else."""
    files: list[_File] = []
    left_out: list[str] = []
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    path = f"{folder}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{path}/")
                    elif entry.is_file(follow_symlinks=False):
                        files.append(_file(path, entry.stat(follow_symlinks=False)))
                    else:
                        left_out.append(path)
        except OSError as error:
            raise _unreadable(root / folder, error) from error
    return files, sorted(left_out)


def _headers() -> HeaderTemplate:
    info = tarfile.TarInfo()
    info.mode = 0o644
    info.mtime = 0
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return HeaderTemplate(info, tarfile.GNU_FORMAT)


_HEADERS = _headers()


class _Exactly:
    """Reads a file that must give so many bytes: a log file that grew must not shift the stream, one that shrank is an error."""

    def __init__(self, file: io.FileIO, size: int, name: str) -> None:
        self._file = file
        self._left = size
        self._name = name

    def read(self, size: int, /) -> bytes:
        data = self._file.read(min(size, self._left))
        if not data and self._left:
            raise _changed(self._name)
        self._left -= len(data)
        return data


class _Chunks:
    """Joins chunks of any length to reads of the asked length; each byte is copied once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        pieces, left = [self._rest[:size]], size - len(self._rest)
        self._rest = self._rest[size:]
        while left > 0:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            pieces.append(memoryview(chunk)[:left])
            self._rest = memoryview(chunk)[left:]
            left -= len(chunk)
        return b"".join(pieces)


def _changed(name: str) -> ClientError:
    return local(Reason.UPLOAD_CORRUPT, f"{name} changed while it was being uploaded; run the same command again", {"file": name})


def _unreadable(path: Path, error: OSError) -> ClientError:
    return local(Reason.FILE_NOT_FOUND, f"cannot read {path}: {error.strerror or error}", {"path": str(path)})
