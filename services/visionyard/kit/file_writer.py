"""Many small files, made by tar(1) in a process of its own.

A thread of this process that makes files waits for the interpreter at each of its system calls, thousands of times a second, and so do all others: two threads that
write a dataset's images and labels take as long as one (docs/performance.md). Here they only copy bytes into a pipe, some hundred files at a time.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from visionyard.kit.tar_header import HeaderTemplate

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_PIPE_BYTES = 1 << 20
"""As much as Linux lets anybody have (/proc/sys/fs/pipe-max-size)."""
_SENT_PARTS = 1000
"""At most 1,024 pieces are sent in one call (writev(2), IOV_MAX)."""
_PARTS_A_FILE = 3
_HEADERS = HeaderTemplate(tarfile.TarInfo(), tarfile.GNU_FORMAT)
_COMMAND = ("tar", "--extract", "--file=-", "--touch", "--no-same-owner", "--no-same-permissions", "--blocking-factor=512")
_TOLD_BYTES = 2000
_NO_ROOM = {errno.EDQUOT: "Disk quota exceeded", errno.ENOSPC: "No space left on device|Wrote only [0-9]+ of [0-9]+ bytes"}
"""What tar says in the C language where there is no room: of a write that was cut short it tells no reason."""


class FileWriter:
    """Writes files into a folder, in the order given; those that are there are replaced. Safe for threads.

    ``with FileWriter(folder) as files: files.add("a/b.txt", b"...")``. At the end of the block all are written; where it ends in an exception those that were
    added are written nevertheless, and what went wrong with them is not told.

    Args:
        folder: Where; made where it is missing, like the folders in it.
        held: Open files that the process holds as well, for as long as it lives: a lock taken with flock(2) stays taken while it writes, even if this process dies.
    """

    def __init__(self, folder: Path, held: Iterable[int] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        # In memory: a full disk has no room for what tar says of it, and a pipe that nobody reads would stop it.
        self._errors = os.fdopen(os.memfd_create("tar's messages"), "rb")
        reading, writing = os.pipe()
        self._pipe = io.FileIO(writing, "wb")
        try:
            self._tar = subprocess.Popen(
                [*_COMMAND, f"--directory={folder}"],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=tuple(held),
                env={name: value for name, value in os.environ.items() if name != "TAR_OPTIONS"} | {"LC_ALL": "C"},
            )
        except BaseException:
            self._pipe.close()
            self._errors.close()
            raise
        finally:
            os.close(reading)
        with suppress(OSError):  # more than this user may have: the pipe stays as it is
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._lock = threading.Lock()
        self._parts: list[bytes] = []
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def add(self, path: str, data: bytes) -> None:
        """Has a file written, now or with those that follow.

        Args:
            path: Relative to the folder, of names that no stranger chose the folders of: ``images/train/a.jpg``.
            data: What is in it.

        Raises:
            OSError: this or one of the files before could not be written; ENOSPC or EDQUOT, there is no room. At the end of the block likewise.
        """
        with self._lock:
            self._parts += (_HEADERS.header(path, len(data)), data, bytes(-len(data) % _BLOCK))
            self._size += len(data)
            if self._size >= _PIPE_BYTES or len(self._parts) + _PARTS_A_FILE > _SENT_PARTS:
                self._send()
                if self._has_failed:
                    self._tar.kill()
                    self._tar.wait()
                    raise self._error()

    def _send(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        try:
            sent = os.writev(self._pipe.fileno(), parts)
            if sent < sum(map(len, parts)):  # a signal came in between
                rest = memoryview(b"".join(parts))[sent:]
                while rest:
                    rest = rest[self._pipe.write(rest) :]
        except BrokenPipeError:
            self._tar.wait()
            raise self._error() from None

    @property
    def _has_failed(self) -> bool:
        """Whether tar has said anything: it does so of failures alone, and goes on to the next file."""
        return os.fstat(self._errors.fileno()).st_size > 0

    def _error(self) -> OSError:
        told = os.pread(self._errors.fileno(), _TOLD_BYTES, 0).decode(errors="replace").strip()
        for number, sign in _NO_ROOM.items():
            if re.search(sign, told):
                return OSError(number, os.strerror(number), str(self._folder))
        return OSError(errno.EIO, f"tar ended with status {self._tar.returncode}: {told}", str(self._folder))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            with self._lock:
                self._parts.append(_END)
                self._send()
            self._pipe.close()
            if self._tar.wait() or self._has_failed:
                raise self._error()
        except OSError:
            if error is None:
                raise
        finally:
            self._pipe.close()
            self._tar.wait()
            self._errors.close()
