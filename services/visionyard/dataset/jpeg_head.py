"""What stands before a JPEG's picture data (ITU-T T.81, annex B): told apart without Pillow where nothing in it is out of the ordinary."""

from __future__ import annotations

_HEADER_OF_ONE_SCAN = frozenset({0xC0, 0xC1})
"""Baseline and extended sequential frames; a progressive one has many scans."""
_SCAN, _TABLES, _HUFFMAN, _INTERVAL, _JFIF, _COMMENT = 0xDA, 0xDB, 0xC4, 0xDD, 0xE0, 0xFE
_TABLE_BYTES = 65
_MAX_SEGMENTS = 64
_MAX_PIXELS = 89_000_000
"""Above this Pillow begins to warn of bombs."""


def is_plain(data: bytes) -> bool:
    """Whether a JPEG is one frame of 8 bits and one scan, with nothing before it but what decoding needs, a JFIF header and comments: no EXIF, no second picture.

    Then a decoder meets one scan only: another one behind it is an error to libjpeg. And Pillow, given that libjpeg decodes it, has nothing to object and finds no
    orientation. A false answer says nothing.

    Args:
        data: The file's bytes, beginning with the start mark.
    """
    try:
        return _walk(data)
    except IndexError:
        return False


def _walk(data: bytes) -> bool:
    at, components = 2, 0
    for _ in range(_MAX_SEGMENTS):
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if data[at] != 0xFF or length < 2:  # noqa: PLR2004 - what a marker begins with; a length counts itself
            return False
        if marker == _SCAN:
            return components != 0 and data[at + 4] == components and length == 6 + 2 * components
        if marker in _HEADER_OF_ONE_SCAN:
            if components or not _is_plain_frame(data, at, length):
                return False
            components = data[at + 9]
        elif not _is_plain_segment(data, at, marker, length):
            return False
        at += 2 + length
    return False


def _is_plain_segment(data: bytes, at: int, marker: int, length: int) -> bool:
    if marker == _TABLES:  # of 8 bits, and whole
        return not (length - 2) % _TABLE_BYTES and not any(data[table] >> 4 for table in range(at + 4, at + 2 + length, _TABLE_BYTES))
    if marker == _JFIF:  # without a thumbnail
        return length == 16 and data[at + 4 : at + 9] == b"JFIF\0"  # noqa: PLR2004
    return marker in {_HUFFMAN, _INTERVAL, _COMMENT}


def _is_plain_frame(data: bytes, at: int, length: int) -> bool:
    height, width, components = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8], data[at + 9]
    return data[at + 4] == 8 and components in {1, 3} and length == 8 + 3 * components and 0 < width * height <= _MAX_PIXELS  # noqa: PLR2004 - bits
