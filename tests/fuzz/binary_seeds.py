"""What fuzzing of images and archives starts from."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator

import cv2
import numpy as np
import zstandard
from seeds import DATA

_MAX_IMAGE_BYTES = 100 << 10


def images() -> Iterator[bytes]:
    """Pictures of each type; and the small ones of the test data."""
    pixels = np.random.default_rng(1).integers(0, 255, (24, 32, 3), np.uint8)
    smooth = np.tile(np.arange(32, dtype=np.uint8) * 7, (24, 1))
    for suffix in (".jpg", ".png", ".bmp", ".webp"):
        yield cv2.imencode(suffix, pixels)[1].tobytes()
        yield cv2.imencode(suffix, smooth)[1].tobytes()
    yield cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    yield cv2.imencode(".png", np.dstack((pixels, smooth)))[1].tobytes()
    yield cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1].tobytes()
    yield from (b"", b"GIF89a", b"II*\0", b"version https://git-lfs.github.com/spec/v1\n")
    for folder in (DATA / "nasty" / "pillow",):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix != "" and path.stat().st_size <= _MAX_IMAGE_BYTES:
                yield path.read_bytes()


_MEMBERS = {
    "a/images/1.jpg": b"\xff" * 300,
    "a/labels/1.txt": b"0 .5 .5 .1 .1\n",
    "a/e.txt": b"",
    "a/.hidden": b"x",
    "a/caf\u00e9.TXT": b"y",
    "a/CAF\u00c9.txt": b"z",
    "in.zip": b"PK",
}


def zips() -> Iterator[bytes]:
    """Zips of each packing, with comments, extra fields, folders, zip64 and data descriptors."""
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for path, content in _MEMBERS.items():
                archive.writestr(zipfile.ZipInfo(path), content, method)
            archive.writestr(zipfile.ZipInfo("folder/"), b"")
            archive.comment = b"a comment"
        yield buffer.getvalue()
    streamed = _Unseekable()
    with (
        zipfile.ZipFile(streamed, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(zipfile.ZipInfo("big.txt"), "w", force_zip64=True) as file,
    ):
        file.write(b"x" * 500)
    yield streamed.getvalue()
    yield b"PK\x05\x06" + bytes(18)


class _Unseekable(io.BytesIO):
    """What zipfile writes data descriptors to."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def _tarred(kind: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=kind, pax_headers={"comment": "all"} if kind == tarfile.PAX_FORMAT else None
    ) as archive:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for path, content in {**_MEMBERS, **({} if kind == tarfile.USTAR_FORMAT else {"long/" * 30 + "name.txt": b"l"})}.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tars() -> Iterator[bytes]:
    """Tars of each kind behind the byte that says how they are to be packed; and what no archive should hold."""
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for packing in range(3):
            yield bytes([packing]) + _tarred(kind)
    for type_ in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE):
        info = tarfile.TarInfo("link")
        info.type, info.linkname = type_, "/etc/passwd"
        yield b"\0" + info.tobuf() + bytes(1024)


def packed_tars() -> Iterator[bytes]:
    """Packed tars as they lie on disk."""
    tar = _tarred(tarfile.PAX_FORMAT)
    yield gzip.compress(tar)
    yield gzip.compress(tar[:2048]) + gzip.compress(tar[2048:])
    yield zstandard.compress(tar)
    yield zstandard.ZstdCompressor(level=3, write_checksum=True).compress(tar[:4096]) + zstandard.compress(tar[4096:])
    yield gzip.compress(bytes(1 << 20))
