"""A remote file into a local one: taken up where it broke off, within limits of size, disk and time, hashed on its way."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from typing import BinaryIO

from visionyard.dataset.fetching.addresses import SourceUrl, unreachable
from visionyard.dataset.fetching.patience import FetchLimits, Patience, too_slow
from visionyard.dataset.fetching.port import Answer, Check, Fetched, Progress, Remote, SourceBroken
from visionyard.kit.errors import Reason, YardError

_CHUNK_BYTES = 1 << 20
_BYTES_A_LOOK = 64 << 20
"""Between two looks at the disk."""


class Download:
    """One file on its way; nothing of it counts before :meth:`run` returns.

    Args:
        url: What it is called.
        remote: Where it comes from.
        file: Where it goes; empty.
        folder: A folder on the same disk.
        limits: What it may ask of this machine.
        check: Raises where the work is to stop.
        progress: Hears how far it is.
    """

    def __init__(
        self, url: SourceUrl, remote: Remote, file: BinaryIO, folder: Path, limits: FetchLimits, check: Check, progress: Progress
    ) -> None:
        self._url = url
        self._remote = remote
        self._file = file
        self._folder = folder
        self._limits = limits
        self._check = check
        self._progress = progress
        self._patience = Patience(url, limits, check)
        self._hash = hashlib.sha256()
        self._done = self._furthest = self._restarts = 0
        self._size: int | None = None
        self._validator = ""
        self._room_left = 0

    def run(self) -> Fetched:
        """Fetches the file.

        Raises:
            YardError: SOURCE_NOT_ALLOWED, SOURCE_UNREACHABLE, REQUEST_TOO_LARGE, DISK_FULL; or what ``check`` raises.
        """
        while True:
            self._tell()
            try:
                with self._remote.open(self._done if self._validator else 0, self._validator) as answer:
                    self._begin(answer)
                    self._take(answer)
                self._file.flush()
                return Fetched(self._url.shown, self._hash.hexdigest(), self._done, answer.etag, answer.last_modified)
            except SourceBroken as error:
                self._progress(f"trying again, as the source {error}", self._done, self._size or 0, "bytes")
                self._patience.failed(error, self._furthest)

    def _tell(self) -> None:
        self._check()
        self._progress("fetching", self._done, self._size or 0, "bytes")

    def _begin(self, answer: Answer) -> None:
        if self._done and (answer.offset != self._done or answer.size != self._size):
            self._restart()
            if answer.offset:
                raise SourceBroken("was replaced while it was fetched")
        if answer.offset != self._done:
            raise SourceBroken(f"sends bytes from {answer.offset} on instead of {self._done}")
        self._size, self._validator = answer.size, answer.validator
        if answer.size is not None and answer.size > self._limits.file_bytes:
            raise self._too_large(f"has {answer.size} bytes", answer.size)
        self._look_for_room((answer.size or 0) - self._done)

    def _restart(self) -> None:
        """Throws away what is there: it cannot be joined to what comes."""
        self._restarts += 1
        if self._restarts > self._limits.restarts:
            raise unreachable(
                self._url,
                f"broke off {self._restarts} times and could not go on where it had ended: download it yourself and import the file",
            )
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self._done, self._size, self._validator = 0, None, ""

    def _take(self, answer: Answer) -> None:
        began, window = time.monotonic(), 0
        while data := answer.read(_CHUNK_BYTES):
            if self._done + len(data) > self._limits.file_bytes:
                raise self._too_large(f"sends more than {self._limits.file_bytes} bytes", self._done + len(data))
            self._room_left -= len(data)
            if self._room_left < 0:
                self._look_for_room(len(data))
            self._file.write(data)
            self._hash.update(data)
            self._done += len(data)
            window += len(data)
            self._furthest = max(self._furthest, self._done)
            self._tell()
            self._patience.keep_to_time()
            if (now := time.monotonic()) - began > self._limits.window_s:
                if window < self._limits.pace_bytes_s * (now - began):
                    raise too_slow(self._limits)
                began, window = now, 0
        if self._size is not None and self._done < self._size:
            raise SourceBroken(f"announces {self._size} bytes but ended after {self._done}")
        if self._size is None and not self._done:  # an answer that broke off in its header looks like this
            raise SourceBroken("sent nothing")

    def _look_for_room(self, wanted: int) -> None:
        free = shutil.disk_usage(self._folder).free - self._limits.reserve_bytes
        if wanted > free:
            raise YardError(
                Reason.DISK_FULL,
                f"{self._url.shown} does not fit on this machine's disk: it wants {wanted} bytes more, and {max(free, 0)} are to spare;"
                " free some, or give VISIONYARD_WORK_DIR a larger disk",
                {"path": "VISIONYARD_WORK_DIR"},
            )
        self._room_left = min(_BYTES_A_LOOK, free)

    def _too_large(self, what: str, size: int) -> YardError:
        return YardError(
            Reason.REQUEST_TOO_LARGE,
            f"{self._url.shown} {what}, and this service takes at most {self._limits.file_bytes} (VISIONYARD_UPLOAD_LIMIT_BYTES): divide it",
            {"size_bytes": str(size), "limit_bytes": str(self._limits.file_bytes)},
        )
