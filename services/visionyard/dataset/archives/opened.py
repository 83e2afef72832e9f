"""Which archive a file is: told by its first bytes, never by its name."""

from __future__ import annotations

import tarfile
from typing import BinaryIO

from visionyard.dataset.archives.entry import Archive, ArchiveLimits
from visionyard.dataset.archives.tarred import TarArchive
from visionyard.dataset.archives.zipped import ZipArchive
from visionyard.kit.errors import Reason, YardError

_READ = "use zip, tar, tar.gz or tar.zst, or give the folder itself"
_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ\0": "packed with xz",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}
_ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def open_archive(file: BinaryIO, size: int, name: str, limits: ArchiveLimits) -> Archive:
    """Opens an archive.

    Args:
        file: Its bytes; seekable.
        size: How many they are.
        name: What the user calls it, for messages.
        limits: What it may ask of the machine.

    Raises:
        YardError: ARCHIVE_UNREADABLE, ARCHIVE_TRUNCATED, ARCHIVE_ENCRYPTED, ARCHIVE_BOMB, ARCHIVE_UNSAFE_PATH.
    """
    if not size:
        raise _unreadable(name, "is empty")
    file.seek(0)
    head = file.read(1024)
    if head.startswith(_ZIP_BEGINS):
        return ZipArchive(file, size, name, limits)
    if head.startswith(_GZIP):
        return TarArchive(file, size, "gzip", name, limits)
    if head.startswith(_ZSTD):
        return TarArchive(file, size, "zstd", name, limits)
    if _is_tar(head):
        return TarArchive(file, size, "", name, limits)
    for begin, what in _OTHERS.items():
        if head.startswith(begin):
            raise _unreadable(name, f"is {what}")
    raise _unreadable(name, "is no archive that is read here")


def _unreadable(name: str, what: str) -> YardError:
    return YardError(Reason.ARCHIVE_UNREADABLE, f"{name} {what}: {_READ}", {"file": name})


def _is_tar(head: bytes) -> bool:
    if head and not head.strip(b"\0"):
        return True  # nothing but end marks: an empty tar
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
