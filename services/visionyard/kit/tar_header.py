"""Tar headers of regular files from a template: what ``tarfile`` writes, in a tenth of its time, for archives of many small files."""

from __future__ import annotations

import tarfile
from typing import Literal

_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
_MAX_SIZE = 8**11


class HeaderTemplate:
    """Headers of files that differ in name and size only.

    POSIX.1-2024 pax, "ustar Interchange Format": the checksum is the sum of all bytes, its own eight taken as blanks.

    Args:
        info: What they have in common; a regular file.
        form: ``tarfile.USTAR_FORMAT`` or ``tarfile.GNU_FORMAT``.
    """

    def __init__(self, info: tarfile.TarInfo, form: Literal[0, 1]) -> None:
        self._info = info
        self._form = form
        block = info.tobuf(form)
        self._before = block[_NAME.stop : _SIZE.start]
        self._between = block[_SIZE.stop : _CHECKSUM.start]
        self._after = block[_CHECKSUM.stop :]
        self._sum = sum(self._before) + sum(self._between) + sum(self._after) + 8 * ord(" ")

    def header(self, name: str, size: int) -> bytes:
        """The header blocks of a file.

        Args:
            name: Its path; bytes that are no UTF-8 are lone surrogates.
            size: In bytes.

        Raises:
            ValueError: it does not fit the form.
        """
        encoded = name.encode("utf-8", "surrogateescape")
        if len(encoded) >= _NAME.stop or name.endswith("/") or not 0 <= size < _MAX_SIZE:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime, info.size = self._info.mode, self._info.mtime, size
            return info.tobuf(self._form, "utf-8", "surrogateescape")
        length = b"%011o\0" % size
        checksum = self._sum + sum(encoded) + sum(length)
        return b"".join((encoded.ljust(_NAME.stop, b"\0"), self._before, length, self._between, b"%06o\0 " % checksum, self._after))
