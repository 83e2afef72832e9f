"""One stream of chunks into an upload."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import google_crc32c

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.transfer.copies import LocalCopy
from visionyard.kit.transfer.parts import PART_BYTES, Part, store_part

if TYPE_CHECKING:
    from visionyard.kit.transfer.uploads import Upload

SHA256 = re.compile(r"[0-9a-f]{64}\Z")
"""A sha256 as it is written."""
MAX_CHUNK_BYTES = 2 * 1024 * 1024
"""The largest chunk that is taken."""


class UploadWriter:
    """One stream of chunks into an upload. Not safe for threads: one call at a time, except that :meth:`store` may run while chunks are added.

    Args:
        store: The bucket.
        prefix: The prefix of the upload's parts.
        upload: As it stood when the stream began.
        finish: Completes the upload of a name, given its sha256 where that is known from the stream, and the one that was announced in it; :meth:`UploadStore.finish`.
        copy: Gets the bytes too, for a worker on this machine; None where none is kept.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        upload: Upload,
        finish: Callable[[ResourceName, str | None, str], Upload],
        copy: LocalCopy | None = None,
    ) -> None:
        self.upload = upload
        self._store = store
        self._prefix = prefix
        self._finish = finish
        self._copy = copy
        self._position = upload.committed
        self._buffer = bytearray()
        # Only a stream that brings and stores the whole file, alone, can tell the file's sha256 without reading it back.
        self._digest = hashlib.sha256() if not upload.committed else None
        self._hashed = 0
        self._announced = ""

    @property
    def position(self) -> int:
        """Where the next chunk must begin, in bytes from the file's beginning."""
        return self._position

    def add(self, offset: int, data: bytes, crc32c: int) -> Part | None:
        """Takes a chunk. Does not block.

        Args:
            offset: Where the chunk begins in the file.
            data: Its bytes, at most 2 MiB.
            crc32c: Their CRC-32C (Castagnoli), RFC 3720 appendix B.4.

        Returns:
            A part to :meth:`store`, when one is full.

        Raises:
            YardError: UPLOAD_OFFSET_MISMATCH; UPLOAD_CORRUPT, the chunk was damaged on its way; REQUEST_TOO_LARGE. What came before stays.
        """
        if len(data) > MAX_CHUNK_BYTES:
            raise YardError(
                Reason.REQUEST_TOO_LARGE,
                f"the chunk at offset {offset} has {len(data)} bytes; send at most {MAX_CHUNK_BYTES} at once",
                {"size_bytes": str(len(data)), "limit_bytes": str(MAX_CHUNK_BYTES)},
            )
        if offset != self._position or offset + len(data) > self.upload.size:
            why = "the upload goes on" if offset != self._position else f"the file has {self.upload.size} bytes, and the upload goes on"
            raise YardError(
                Reason.UPLOAD_OFFSET_MISMATCH,
                f"the chunk of {len(data)} bytes at offset {offset} does not fit: {why} at offset {self._position}",
                {"committed_bytes": str(self._position)},
            )
        if google_crc32c.value(data) != crc32c:
            raise YardError(
                Reason.UPLOAD_CORRUPT, f"the chunk at offset {offset} was damaged on its way: send it again", {"offset": str(offset)}
            )
        self._buffer += data
        self._position += len(data)
        return self._cut(PART_BYTES) if len(self._buffer) >= PART_BYTES else None

    def announce(self, sha256: str) -> None:
        """Takes the sha256 of the whole file, 64 lower-case hexadecimal digits, from the stream; empty: none.

        Raises:
            YardError: INVALID_FIELD.
        """
        if sha256 and not SHA256.match(sha256):
            raise invalid_field("sha256", "must be 64 lower-case hexadecimal digits")
        self._announced = sha256 or self._announced

    def rest(self) -> Part | None:
        """What has been added and not been given out as a part; for when the stream ends or breaks."""
        return self._cut(len(self._buffer)) if self._buffer else None

    def _cut(self, size: int) -> Part:
        part = Part(self._position - len(self._buffer), bytes(memoryview(self._buffer)[:size]))
        del self._buffer[:size]
        return part

    def store(self, part: Part) -> None:
        """Stores a part; call it with one after another, in order. Blocks.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        if self._digest is not None and part.offset == self._hashed:
            self._digest.update(part.data)
            self._hashed += len(part.data)
            if self._copy is not None:
                self._copy.write(part.data)
        if not store_part(self._store, self._prefix, part):
            self._digest = None

    def finish(self) -> Upload:
        """Says how the upload stands after everything was stored; see :meth:`UploadStore.finish`. Blocks."""
        whole = self._digest is not None and self._hashed == self.upload.size
        digest = self._digest.hexdigest() if self._digest is not None and whole else None
        try:
            upload = self._finish(self.upload.name, digest, self._announced)
            if self._copy is not None and digest is not None and upload.complete:
                self._copy.keep()
        finally:
            self.close()
        return upload

    def close(self) -> None:
        """Nothing more is stored through it; to be called also where the stream broke. Blocks for a moment at most."""
        if self._copy is not None:
            self._copy.drop()
