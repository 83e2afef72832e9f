"""From a JPEG or PNG file's bytes to pixels, the same pixels that Ultralytics gets from ``cv2.imread``.

That means: three channels whatever the file has (alpha is dropped, grey is repeated, CMYK is converted), the high byte of 16-bit samples, and
turned upright by its EXIF orientation. Nothing is allocated before the header, read here, has shown that the picture is small enough.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.vision.animation import without_animation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAX_PIXELS = 64 * 1024 * 1024
"""Larger pictures are refused unless the caller says otherwise: 8192 x 8192, 192 MiB of pixels."""
_MAX_SCANS = 100
"""A progressive JPEG has about 10 scans; thousands of empty ones would each walk over the whole picture (libjpeg-turbo's own fuzzers draw such a line)."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
_PNG_IHDR = b"\x00\x00\x00\rIHDR"
_PNG_CHUNK_FRAME = 12
_MAX_PNG_CHUNKS = 100_000
_JPEG_WITHOUT_SEGMENT = frozenset({b"\x00", b"\x01", *(bytes([code]) for code in range(0xD0, 0xD8))})
"""Stuffing, TEM and RSTn."""
_JPEG_NO_HEADER = frozenset({b"", b"\xd8", b"\xd9", b"\xda"})
"""The end of the data, a second start, an end, or pixels: no header follows."""
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOFn; among them lie DHT, JPG and DAC."""
_JPEG_APP1 = 0xE1
_JPEG_LENGTH_BYTES = 2
_JPEG_FRAME_BYTES = 8
_EXIF_ORIENTATION = (b"\x12\x01\x03\x00\x01\x00\x00\x00\x01\x00", b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x01")
"""TIFF entry of the orientation tag with the value 1 (upright), little and big endian (Exif 2.32, 4.6.4)."""

_ORIENTATION_TAG = 0x0112
_TIFF_ORDERS = {b"II": "<", b"MM": ">"}


def decode_image(data: bytes, limit_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decodes a picture. Safe to call from several threads; most of it runs without the interpreter's lock.

    Args:
        data: A JPEG or PNG file.
        limit_pixels: The most pixels (width times height) that are decoded.

    Returns:
        UINT8 [height, width, 3], RGB, upright.

    Raises:
        YardError: IMAGE_UNREADABLE for anything that is not a whole JPEG or PNG, IMAGE_TOO_LARGE above ``limit_pixels``.
    """
    if data[:3] == b"\xff\xd8\xff":
        return _decode_jpeg(data, limit_pixels)
    if data[:8] == _PNG_SIGNATURE:
        return _decode_opencv(_bare_png(data, limit_pixels))
    raise _unreadable("is empty" if not data else "is neither a JPEG nor a PNG")


def _unreadable(why: str) -> YardError:
    return YardError(Reason.IMAGE_UNREADABLE, f"the image {why}: send the bytes of a whole JPEG or PNG file")


def _check_size(width: int, height: int, limit_pixels: int) -> None:
    if not width or not height:
        raise _unreadable("has no pixels")
    if width * height > limit_pixels:
        raise YardError(
            Reason.IMAGE_TOO_LARGE,
            f"the image has {width} x {height} pixels, more than the {limit_pixels} that are decoded: send it smaller",
            {"width_px": str(width), "height_px": str(height), "limit_px": str(limit_pixels)},
        )


def _decode_opencv(data: bytes) -> NDArray[np.uint8]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        image = None
    if image is None:
        raise _unreadable("is damaged")
    return image.astype(np.uint8, copy=False)


# --- JPEG (ITU-T T.81, annex B)


def _decode_jpeg(data: bytes, limit_pixels: int) -> NDArray[np.uint8]:
    width, height, upright = _jpeg_header(data)
    _check_size(width, height, limit_pixels)
    # Bytes of FF DA inside of pixels are impossible (FF is always followed by 00 there), so this counts scans and a thumbnail's.
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise _unreadable(f"has more than {_MAX_SCANS} scans")
    if upright:
        # The same libjpeg-turbo settings as OpenCV's, hence the same pixels, but with less around it, and strict about damage.
        try:
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=False, fastupsample=False)
        except ValueError as error:
            text = str(error)
            if "Premature end" in text or ("Corrupt JPEG data" in text and "extraneous bytes" not in text):
                raise _unreadable("is damaged") from error
            # Stray bytes between segments do no harm, and some kinds of JPEG only OpenCV reads.
        else:
            return pixels
    return _decode_opencv(data)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end (of length and payload) of each segment before the pixels, found exactly as libjpeg's ``next_marker`` finds them."""
    position = 2
    while (position := data.find(b"\xff", position)) >= 0:
        while data[position : position + 1] == b"\xff":
            position += 1
        marker, begin = data[position : position + 1], position + 1
        if marker in _JPEG_WITHOUT_SEGMENT:
            position = begin
            continue
        length = int.from_bytes(data[begin : begin + 2], "big")
        if marker in _JPEG_NO_HEADER or length < _JPEG_LENGTH_BYTES or begin + length > len(data):
            return
        position = begin + length
        yield marker[0], begin, position


def _jpeg_header(data: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether no EXIF orientation turns the picture."""
    upright = True
    for marker, begin, end in _jpeg_segments(data):
        if marker in _JPEG_FRAMES and end - begin >= _JPEG_FRAME_BYTES:
            height, width = struct.unpack_from(">HH", data, begin + 3)
            return width, height, upright
        if marker == _JPEG_APP1:
            upright = upright and _is_upright(data[begin:end])
    raise _unreadable("has a damaged header")


def _is_upright(app1: bytes) -> bool:
    """Whether an APP1 segment (length and payload) certainly leaves the picture as it is; where in doubt, OpenCV decides."""
    if any(app1.count(entry[:8]) != app1.count(entry) for entry in _EXIF_ORIENTATION):
        return False
    tiff = app1[_JPEG_LENGTH_BYTES + len(b"Exif\0\0") :]
    order = _TIFF_ORDERS.get(tiff[:2])
    if order is None:
        return True
    # As OpenCV reads it: the first directory only, and an orientation's first two bytes whatever type the entry says it has.
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        entries = [struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * i) for i in range(count)]
    except struct.error:
        return False
    return all(value == 1 for tag, _, _, value in entries if tag == _ORIENTATION_TAG)


# --- PNG (W3C PNG 3rd edition, section 5)


def _bare_png(data: bytes, limit_pixels: int) -> bytes:
    """The file without what has no part in its pixels: compressed texts and profiles can unpack to gigabytes."""
    if data[8:16] != _PNG_IHDR:
        raise _unreadable("has a damaged header")
    width, height = _png_size(data, 16)
    _check_size(width, height, limit_pixels)
    position, kept = len(_PNG_SIGNATURE), [_PNG_SIGNATURE]
    for _ in range(_MAX_PNG_CHUNKS):
        begin, end = position + 8, position + _PNG_CHUNK_FRAME + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            raise _unreadable("is cut off")
        kind = data[begin - 4 : begin]
        if kind in _PNG_PIXEL_CHUNKS:
            kept.append(data[position:end])
        position = end
        if kind == b"IEND":
            return without_animation(b"".join(kept))
    raise _unreadable("has too many chunks")


def _png_size(data: bytes, offset: int) -> tuple[int, int]:
    if len(data) < offset + 8:
        raise _unreadable("is cut off")
    width, height = struct.unpack_from(">II", data, offset)
    return width, height
