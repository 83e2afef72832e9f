"""Animated PNGs (W3C PNG 3rd edition, section 4.9) as the still picture that OpenCV shows of them.

OpenCV 5.0 reads all frames whenever it is asked for one, and where a later frame is damaged it writes where it must not: a file of 300 bytes ends the process. So nothing
animated is given to it, nor stored for others to give to it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_SIGNATURE_BYTES = 8
_FRAME_BYTES = 12
"""Of a chunk around its data: length, kind, checksum."""
_NUMBER_BYTES = 4
"""The sequence number before a frame's data."""
_KINDS = frozenset({b"acTL", b"fcTL", b"fdAT"})


def without_animation(data: bytes) -> bytes:
    """The same PNG as one still picture; the very same bytes where it is no animation.

    The still picture is the first frame: the picture itself where it is one of the frames, or what stands in for it where the first frame covers it wholly. Of a first
    frame that is smaller, which OpenCV would lay over nothing, the picture itself is taken.

    Args:
        data: A PNG whose first chunk is its header. Chunks that are cut off are taken as they are.
    """
    chunks = list(_chunks(data))
    kinds = [kind for kind, _ in chunks]
    if not _KINDS & set(kinds):
        return data
    pixels = kinds.index(b"IDAT") if b"IDAT" in kinds else len(kinds)
    control = kinds.index(b"fcTL") if b"fcTL" in kinds else 0
    first = [] if control < pixels or b"acTL" not in kinds else _first_frame(chunks, control)
    kept = [data[:_SIGNATURE_BYTES]]
    for number, (kind, chunk) in enumerate(chunks):
        if first and kind == b"IDAT":
            kept += first if number == pixels else []
        elif kind not in _KINDS:
            kept.append(chunk)
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk up to the end mark, its kind and all its bytes: what follows is no part of the picture."""
    position, kind = _SIGNATURE_BYTES, b""
    while position < len(data) and kind != b"IEND":
        end = position + _FRAME_BYTES + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        yield kind, data[position:end]
        position = end


def _first_frame(chunks: list[tuple[bytes, bytes]], control: int) -> list[bytes]:
    """The frame behind the picture as the chunks of a still one; empty where it does not cover the picture, or has no pixels."""
    # The size follows the frame's number, the place follows the size; the header begins with the size.
    if chunks[control][1][12:28] != chunks[0][1][8:16] + bytes(8):
        return []
    frame = []
    for kind, chunk in chunks[control + 1 :]:
        if kind == b"fcTL":
            break
        if kind == b"fdAT":
            frame.append(_chunk(b"IDAT", chunk[8 + _NUMBER_BYTES : -4]))
    return frame


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
