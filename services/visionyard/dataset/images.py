"""Looks at one image file: whole, of a bearable size, and such that Ultralytics takes it as it is.

Ultralytics' loader (``ultralytics/data/utils.py``, ``check_image``) opens every image with Pillow, drops those under 10 pixels, and writes JPEGs that do not end in
their end mark anew, in place. Images are stored so that it finds nothing to do: JPEG or PNG, the end mark last. Sizes are read from the header, before anything is
decoded, so that 50,000 x 50,000 pixels cost nothing.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from visionyard.dataset.findings import Code
from visionyard.dataset.jpeg_head import is_plain
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.vision.animation import without_animation
from visionyard.kit.vision.decode import decode_image

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "jpe", "jfif", "png", "bmp", "webp", "mpo"})
"""What is read; what a file really is, its bytes say."""
UNREAD_SUFFIXES = frozenset({"tif", "tiff", "gif", "heic", "heif", "avif", "dng", "jp2"})
"""Images too, but not read: listed and dropped."""
_MIN_SIDE_PX = 10
_MAX_SCANS = 100
_JPEG, _JPEG_END, _JPEG_SCAN = b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xda"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES = 33
_PNG_COLOUR_AT = 25
_PNG_PACKED_TEXTS = frozenset({b"zTXt", b"iTXt", b"iCCP"})
_UPRIGHT = 1
_PLAIN = 8
"""Grey levels between the darkest and the brightest cell."""
_CHANNELS = {"Gray": 1, "CMYK": 4, "YCCK": 4}
_PNG_CHANNELS = {0: 1, 4: 4, 6: 4}
_ORIENTATION = 0x0112


class ImageProblem(Exception):
    """The image is not kept.

    Attributes:
        code: Why.
        message: The end of a sentence that begins with the file's path.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class CheckedImage:
    """An image to be stored.

    Attributes:
        data: The file's bytes as they are stored.
        sha256: Of ``data``.
        suffix: ``jpg`` or ``png``, by what it is.
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        phash: See :func:`perceptual_hash`; 0 where the picture is too plain for one.
        channels: 1 for a grey picture, 3 for a coloured one, 4 for CMYK or one with transparency.
        notes: What else there is to say, each the end of a sentence that begins with the file's path.
    """

    data: bytes
    sha256: str
    suffix: str
    width: int
    height: int
    phash: int = 0
    channels: int = 3
    notes: tuple[tuple[Code, str], ...] = ()


def perceptual_hash(grey: NDArray[np.uint8]) -> int:
    """A difference hash of 64 bits: whether each of 8 x 8 cells is brighter than its right neighbour (http://www.hackerfactor.com/blog/?/archives/529-Kind-of-Like-That.html).

    Pictures that look alike differ in few bits, also after scaling and recompression.

    Args:
        grey: UINT8 [height, width].

    Returns:
        The hash, or 0 where the picture is too plain to tell it from others.
    """
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    if int(small.max()) - int(small.min()) < _PLAIN:
        return 0
    return int.from_bytes(np.packbits(small[:, 1:] < small[:, :-1]).tobytes(), "big")


def check_image(data: bytes, limit_pixels: int) -> CheckedImage:
    """Looks at an image. Safe in several threads; most of it runs without the interpreter's lock.

    Args:
        data: The file's bytes.
        limit_pixels: The most pixels, width times height.

    Raises:
        ImageProblem: it is not kept.
    """
    if data.startswith(_JPEG):
        return _check_jpeg(data, limit_pixels)
    if data.startswith(_PNG):
        return _check_png(data, limit_pixels)
    if data.startswith(b"BM"):
        return _as_png(data, _bmp_size(data), limit_pixels, "BMP")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _as_png(data, _webp_size(data), limit_pixels, "WebP")
    if not data:
        raise ImageProblem(Code.CORRUPT_IMAGE, "is empty")
    if data.startswith((b"GIF8", b"II*\0", b"MM\0*")) or data[4:8] == b"ftyp":
        raise ImageProblem(Code.UNSUPPORTED_IMAGE_TYPE, "is neither a JPEG, PNG, BMP nor WebP")
    if data.startswith(b"version https://git-lfs"):
        raise ImageProblem(Code.CORRUPT_IMAGE, "is a Git LFS pointer, not the image itself")
    raise ImageProblem(Code.CORRUPT_IMAGE, "is no image that can be read")


def _check_size(width: int, height: int, limit_pixels: int) -> None:
    if width * height > limit_pixels:
        raise ImageProblem(Code.IMAGE_TOO_LARGE, f"has {width} x {height} pixels, more than the {limit_pixels} that are read")
    if min(width, height) < _MIN_SIDE_PX:
        raise ImageProblem(Code.IMAGE_TOO_SMALL, f"has {width} x {height} pixels")


def _decoded(data: bytes, limit_pixels: int) -> NDArray[np.uint8]:
    try:
        return decode_image(data, limit_pixels)
    except YardError as error:
        if error.reason is Reason.IMAGE_TOO_LARGE:
            raise ImageProblem(Code.IMAGE_TOO_LARGE, f"has more than the {limit_pixels} pixels that are read") from error
        raise ImageProblem(Code.CORRUPT_IMAGE, "cannot be decoded: it is damaged or cut off") from error


def _decoded_size(data: bytes, limit_pixels: int) -> tuple[int, int]:
    pixels = _decoded(data, limit_pixels)
    return pixels.shape[1], pixels.shape[0]


# --- JPEG


def _check_jpeg(data: bytes, limit_pixels: int) -> CheckedImage:
    notes: list[tuple[Code, str]] = []
    colours = ""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # KeyError: a subsampling that it has no name for; OpenCV may read it all the same
        width, height = _decoded_size(data, limit_pixels)
    _check_size(width, height, limit_pixels)
    plain = is_plain(data)
    if not plain and data.count(_JPEG_SCAN) > _MAX_SCANS:
        raise ImageProblem(Code.CORRUPT_IMAGE, f"is a JPEG of more than {_MAX_SCANS} scans")
    if not data.endswith(_JPEG_END):
        data = _ended(data, limit_pixels)
        notes.append((Code.IMAGE_NORMALISED, "did not end in a JPEG's end mark; what followed was cut off, or the mark was added"))
    grey, whole = _decode_jpeg(data, limit_pixels)
    if not whole:
        notes.append((Code.STRAY_BYTES, "has bytes that belong to no picture"))
    orientation = _UPRIGHT if plain else _pillow_reads(data)
    if orientation != _UPRIGHT:
        width, height = _decoded_size(data, limit_pixels)
        notes.append(
            (Code.EXIF_ROTATED, f"is turned by its EXIF orientation ({orientation}); its labels are taken as drawn on the upright picture")
        )
    digest, channels = hashlib.sha256(data).hexdigest(), _CHANNELS.get(colours, 3)
    return CheckedImage(data, digest, "jpg", width, height, perceptual_hash(grey), channels, tuple(notes))


def _ended(data: bytes, limit_pixels: int) -> bytes:
    """The same JPEG with its end mark last: cut behind the last one that makes it whole, or with one added."""
    end = data.rfind(_JPEG_END)
    if end > 0:
        cut = data[: end + len(_JPEG_END)]
        try:
            _decode_jpeg(cut, limit_pixels)
        except ImageProblem:
            pass  # the end mark of a thumbnail
        else:
            return cut
    return data + _JPEG_END


def _decode_jpeg(data: bytes, limit_pixels: int) -> tuple[NDArray[np.uint8], bool]:
    """Decodes all of a JPEG's data, at an eighth of its size, which says the same about damage in half the time.

    Returns:
        UINT8 [height, width], grey; and False where it has stray bytes.

    Raises:
        ImageProblem: it is damaged.
    """
    try:
        eighth: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="GRAY", fastdct=True, min_height=8, min_width=8, min_factor=1)
    except (ValueError, KeyError) as error:
        text = str(error)
        stray = "extraneous bytes" in text
        if not stray and ("Premature end" in text or "Corrupt JPEG data" in text):
            raise ImageProblem(Code.CORRUPT_IMAGE, "is damaged or cut off") from error
        pixels = _decoded(
            data, limit_pixels
        )  # stray bytes, which simplejpeg never lets pass in the header; CMYK and the like, which only OpenCV reads
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8), not stray
    return eighth[:, :, 0], True


def _pillow_reads(data: bytes) -> int:
    """Opens the file as Ultralytics does; returns its EXIF orientation, 1 to 8.

    Raises:
        ImageProblem: Pillow refuses it.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            orientation = image.getexif().get(_ORIENTATION, _UPRIGHT) if "exif" in image.info else _UPRIGHT
            image.verify()
    except Exception as error:  # Pillow's plugins raise whatever their parsing comes upon
        raise ImageProblem(Code.CORRUPT_IMAGE, "cannot be opened by Pillow, with which Ultralytics reads it") from error
    return orientation if isinstance(orientation, int) and _UPRIGHT < orientation <= 8 else _UPRIGHT  # noqa: PLR2004 - EXIF knows 1 to 8


# --- PNG


def _check_png(data: bytes, limit_pixels: int) -> CheckedImage:
    notes: list[tuple[Code, str]] = []
    if len(data) < _PNG_HEADER_BYTES:
        raise ImageProblem(Code.CORRUPT_IMAGE, "is cut off")
    width, height = struct.unpack_from(">II", data, 16)
    _check_size(width, height, limit_pixels)
    pixels = _decoded(data, limit_pixels)
    height, width = pixels.shape[:2]
    still = without_animation(data)
    if still is not data:  # whoever reads the version decodes what is stored, and OpenCV comes to harm at damaged frames
        data = still
        notes.append((Code.IMAGE_NORMALISED, "is an animation; its still picture was kept"))
    try:
        orientation = _pillow_reads(data)
    except ImageProblem:
        data = _without_packed_texts(data)  # Pillow unpacks them, and stops at a bomb
        orientation = _pillow_reads(data)
        notes.append((Code.IMAGE_NORMALISED, "had compressed texts that Pillow refuses; they were taken out"))
    if orientation != _UPRIGHT:
        notes.append(
            (Code.EXIF_ROTATED, f"is turned by its EXIF orientation ({orientation}); its labels are taken as drawn on the upright picture")
        )
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    channels = _PNG_CHANNELS.get(data[_PNG_COLOUR_AT], 3)
    return CheckedImage(data, hashlib.sha256(data).hexdigest(), "png", width, height, perceptual_hash(grey), channels, tuple(notes))


def _without_packed_texts(data: bytes) -> bytes:
    """A PNG (already decoded once, so its chunks are in order) without chunks of compressed text and profiles."""
    position, keep = len(_PNG), [_PNG]
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] not in _PNG_PACKED_TEXTS:
            keep.append(data[position:end])
        position = end
    return b"".join(keep)


# --- BMP and WebP: stored as PNG, so that every room after this one meets JPEG and PNG only


def _bmp_size(data: bytes) -> tuple[int, int]:
    if len(data) < 26:  # noqa: PLR2004 - BITMAPFILEHEADER and the shortest info header
        raise ImageProblem(Code.CORRUPT_IMAGE, "is cut off")
    if int.from_bytes(data[14:18], "little") == 12:  # noqa: PLR2004 - BITMAPCOREHEADER
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    width, height = struct.unpack_from("<ii", data, 18)
    return max(width, 0), abs(height)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height by the first chunk (WebP Container Specification; RFC 6386, 9.1; WebP Lossless Bitstream Specification, 3)."""
    kind = data[12:16]
    if len(data) < 30:  # noqa: PLR2004 - the longest header below
        raise ImageProblem(Code.CORRUPT_IMAGE, "is cut off")
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise ImageProblem(Code.CORRUPT_IMAGE, "is a WebP whose header cannot be read")


def _as_png(data: bytes, size: tuple[int, int], limit_pixels: int, kind: str) -> CheckedImage:
    _check_size(*size, limit_pixels)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype != np.uint8:
        raise ImageProblem(Code.CORRUPT_IMAGE, f"is a {kind} that cannot be decoded: it is damaged or cut off")
    height, width = pixels.shape[:2]
    _check_size(width, height, limit_pixels)
    _, encoded = cv2.imencode(".png", pixels)
    stored = encoded.tobytes()
    note = (Code.IMAGE_NORMALISED, f"is a {kind}; it was stored as a PNG of the same pixels")
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    return CheckedImage(stored, hashlib.sha256(stored).hexdigest(), "png", width, height, perceptual_hash(grey), notes=(note,))
