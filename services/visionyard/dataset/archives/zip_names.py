"""What the entries of a zip are called (APPNOTE.TXT 6.3: 4.4.17 file name, 4.6.9 Unicode path, appendix D).

A name is bytes. Bit 11 says that they are UTF-8; without it they should be code page 437, but macOS and many tools write UTF-8 all the same, and old tools
whatever their machine used. What cannot be told is read as code page 437, in which each byte has a character of its own: two names never become one.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

_UTF8 = 0x800
_FAT = 0
"""``create_system`` of what was made on MS-DOS, or on Windows by its rules."""
_UNICODE_PATH = 0x7075
_UNICODE_PATH_HEAD = 5
_DOUBLE_BYTE = ("gbk", "cp932")
"""Encodings of old Windows in which the second byte of a character may be a backslash's."""


def entry_names(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The entries' names, in the same order, with forward slashes where they were made on Windows by a tool that wrote backslashes; not cleaned.

    Args:
        infos: The entries as ``zipfile`` lists them: names without bit 11 decoded as code page 437.
    """
    plain = [info for info in infos if not info.flag_bits & _UTF8]
    utf8 = all(map(_is_utf8, plain))  # one answer for all: the same folder must not get two names
    slashes = any("/" in info.filename for info in infos)
    return [_name(info, utf8=utf8, slashes=slashes) for info in infos]


def _name(info: zipfile.ZipInfo, *, utf8: bool, slashes: bool) -> str:
    name = info.filename
    if not info.flag_bits & _UTF8:
        told = _unicode_path(info)
        name = told or (_raw(info).decode("utf-8") if utf8 else name)
    # Who wrote one slash wrote them all: a backslash then is part of a name, which is refused later.
    if info.create_system == _FAT and not slashes and not _hides_backslashes(info):
        name = name.replace("\\", "/")
    return name


def _raw(info: zipfile.ZipInfo) -> bytes:
    """The bytes of a name without bit 11."""
    return info.filename.encode("cp437")


def _is_utf8(info: zipfile.ZipInfo) -> bool:
    try:
        _raw(info).decode("utf-8")
    except UnicodeError:
        return False
    return True


def _hides_backslashes(info: zipfile.ZipInfo) -> bool:
    """Whether a backslash of the name may be the second half of a Chinese or Japanese character, so that it cannot be told what it is."""
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return False
    raw = _raw(info)
    for encoding in _DOUBLE_BYTE:
        try:
            if raw.decode(encoding).count("\\") < raw.count(b"\\"):
                return True
        except UnicodeDecodeError:
            continue
    return False


def _unicode_path(info: zipfile.ZipInfo) -> str:
    """The name that Info-ZIP's and 7-Zip's extra field gives in UTF-8, where it belongs to this very name; else empty."""
    for kind, data in _fields(info.extra):
        if kind != _UNICODE_PATH or len(data) <= _UNICODE_PATH_HEAD:
            continue
        version, checksum = struct.unpack_from("<BL", data)
        if version == 1 and checksum == zlib.crc32(_raw(info)):
            with suppress(UnicodeDecodeError):
                return data[_UNICODE_PATH_HEAD:].decode("utf-8")
    return ""


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The extra fields, each its kind and data; what is cut off is left out."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        yield kind, extra[at + 4 : at + 4 + size]
        at += 4 + size
