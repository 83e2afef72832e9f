"""Images and archives, read as an import reads them, with the limits that imports have."""

from __future__ import annotations

import gzip
import hashlib
import io
import unicodedata

import zstandard
from verdicts import Broken

from visionyard.dataset.archives.entry import ArchiveLimits, Entry
from visionyard.dataset.archives.noted import NotedArchive
from visionyard.dataset.archives.opened import open_archive
from visionyard.dataset.images import ImageProblem, check_image
from visionyard.dataset.source import suffix_of
from visionyard.kit.errors import YardError
from visionyard.kit.vision.decode import MAX_PIXELS

_LIMITS = ArchiveLimits()
_MIN_SIDE = 10
_TAR_PACKINGS = 3


def read_image(data: bytes) -> None:
    """An image; what is kept is what every other room can read, and is kept as it is when it is imported again."""
    try:
        image = check_image(data, MAX_PIXELS)
    except ImageProblem as problem:
        problem.message.encode()
        return
    if min(image.width, image.height) < _MIN_SIDE or image.width * image.height > MAX_PIXELS:
        raise Broken("a kept image has a size that is refused")
    if hashlib.sha256(image.data).hexdigest() != image.sha256 or image.suffix not in {"jpg", "png"}:
        raise Broken("a kept image is not what is said of it")
    try:
        again = check_image(image.data, MAX_PIXELS)
    except ImageProblem:
        raise Broken("a kept image is refused when it comes again") from None
    if (again.sha256, again.width, again.height, again.suffix) != (image.sha256, image.width, image.height, image.suffix):
        raise Broken("a kept image is another when it comes again")


def read_archive(data: bytes) -> None:
    """An archive of any kind."""
    try:
        archive = NotedArchive(open_archive(io.BytesIO(data), len(data), "the.zip", _LIMITS), lambda *words: str(words).encode())
        for entry, content in archive.read(lambda entry: suffix_of(entry.path) != "skip"):
            _check_entry(entry, content)
    except YardError as error:
        if not error.reason.name.startswith("ARCHIVE_"):
            raise Broken(f"an archive is refused as {error.reason.name}") from None
        str(error).encode()


def _check_entry(entry: Entry, content: bytes | None) -> None:
    path = entry.path
    path.encode()
    parts = path.split("/")
    if not path or path.startswith("/") or "\\" in path or {"", ".", ".."} & set(parts) or unicodedata.normalize("NFC", path) != path:
        raise Broken("an entry has a path that is not clean")
    if content is not None and (len(content) != entry.size or len(content) > _LIMITS.file_bytes):
        raise Broken("an entry is not as long as announced")


def read_packed_tar(data: bytes) -> None:
    """A tar, packed here, so that what is changed is the tar and not only its packing; the first byte says how."""
    packing, tar = (data[0] % _TAR_PACKINGS, data[1:]) if data else (0, b"")
    read_archive(tar if not packing else gzip.compress(tar, 1) if packing == 1 else zstandard.compress(tar, 1))
