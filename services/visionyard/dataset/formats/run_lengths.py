"""Masks as COCO writes them, run-length encoded, and their outlines.

The format is that of https://github.com/cocodataset/cocoapi (``common/maskApi.h``): the pixels column by column, as the lengths of runs that are in turn outside and inside;
either as a list of numbers, or packed into a text of six bits a character, five of them the number's, from the fourth number on as differences from the last but one.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visionyard.dataset.formats.joined_parts import Corners

MAX_MASK_PIXELS = 1 << 26
"""The most pixels of the columns that a mask reaches over; a picture of 8,000 x 8,000 has fewer."""
_MAX_SIDE = 1 << 16
_FIRST = 48
"""The character that stands for zero."""
_DIGIT, _SIGN, _MORE = 0x1F, 0x10, 0x20
_MAX_CHARACTERS = 7
"""Characters of one number: 35 bits."""


class NotMask(ValueError):
    """What is written is no mask, or one that is not to be read; the message says why."""


@dataclass(frozen=True)
class Outline:
    """The outline of an object, in pixels; that of a mask goes along the edges of its pixels.

    Attributes:
        box: Left, top, right, bottom of all pixels of a mask; empty of a polygon, whose corners tell it.
        parts: The outer outline of each part; gaps of one pixel count as closed.
        holes: Whether it has holes; they, and what lies in them, have no outline.
    """

    box: tuple[float, ...]
    parts: list[Corners]
    holes: bool


class MaskReader:
    """Reads the masks of one labelling; how much work they may make in all follows from how long they are written.

    A mask of a few characters may mean millions of pixels: one that was made for that, repeated, would keep a machine busy for days.
    """

    FIRST_PIXELS = 1 << 31
    """What a labelling may hold however it is written: 32 masks of the largest size."""
    PIXELS_A_CHARACTER = 4096
    """And with each character, or number, of a mask: a column of an object seldom takes fewer than four characters."""

    def __init__(self) -> None:
        self._pixels_left = self.FIRST_PIXELS

    def outline(self, written: Any) -> Outline:
        """The outline of a mask.

        Args:
            written: COCO's ``segmentation``: ``size`` (height, width) and ``counts``, a list of numbers or a text.

        Raises:
            NotMask: it is none, it is empty, or it makes too much work.
        """
        height, width = _size(written.get("size"))
        counts = written.get("counts")
        runs = _unpack(counts) if isinstance(counts, str) else _numbers(counts)
        if not len(runs) or runs.min() < 0 or runs.max() > height * width or runs.sum() > height * width:
            raise NotMask("its runs do not fit its size")
        ends = np.cumsum(runs)
        begins, ends = ends[: len(ends) // 2 * 2 : 2], ends[1::2]
        begins, ends = begins[ends > begins], ends[ends > begins]
        if not len(begins):
            raise NotMask("it holds no pixel")
        self._pixels_left += self.PIXELS_A_CHARACTER * len(counts)
        return self._outline(begins, ends, height)

    def _outline(self, begins: NDArray[np.int64], ends: NDArray[np.int64], height: int) -> Outline:
        left, right = int(begins[0]) // height, int(ends[-1] - 1) // height
        pixels = (right - left + 1) * height
        if pixels > MAX_MASK_PIXELS:
            raise NotMask(f"it reaches over {pixels} pixels, more than the {MAX_MASK_PIXELS} that are read")
        if pixels > self._pixels_left:
            raise NotMask("the masks of this labelling are too large in all")
        self._pixels_left -= pixels
        steps = np.zeros(pixels + 1, np.int8)
        steps[begins - left * height] += 1
        steps[ends - left * height] -= 1
        columns = np.cumsum(steps[:-1], dtype=np.int8).view(np.uint8).reshape(-1, height)
        rows = np.flatnonzero(columns.any(axis=0))
        top, bottom = int(rows[0]), int(rows[-1])
        parts, holes = _trace(columns[:, top : bottom + 1], left, top)
        return Outline((float(left), float(top), float(right + 1), float(bottom + 1)), parts, holes)


def _trace(columns: NDArray[np.uint8], left: int, top: int) -> tuple[list[Corners], bool]:
    """Outlines of a mask's parts, and whether there are holes.

    OpenCV goes along the middles of border pixels, which makes every object a pixel too small. Here it goes along the corners of pixels instead: a corner belongs to the
    object where one of the four pixels around it does.

    Args:
        columns: UINT8 [width, height], as masks are written; turning them first would take most of the time.
        left: The x of the first column.
        top: The y of the first row.
    """
    wide, high = columns.shape
    corners = np.zeros((wide + 1, high + 1), np.uint8)
    for x in (0, 1):
        for y in (0, 1):
            corners[x : x + wide, y : y + high] |= columns
    outlines, tree = cv2.findContours(corners, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE, offset=(top, left))
    outer = tree[0, :, 3] < 0
    parts = [outline[:, 0, ::-1].astype(np.float64) for outline, is_outer in zip(outlines, outer, strict=True) if is_outer]
    return parts, not bool(outer.all())


def _size(written: Any) -> tuple[int, int]:
    match written:
        case [int(height), int(width)] if 0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE:
            return height, width
    raise NotMask("its size is not a height and a width")


def _numbers(counts: Any) -> NDArray[np.int64]:
    """The runs of a list of whole numbers."""
    try:
        return np.frombuffer(array("q", counts), np.int64) if isinstance(counts, list) and counts else np.zeros(0, np.int64)
    except (TypeError, OverflowError) as error:
        raise NotMask("its runs are not all whole numbers") from error


def _unpack(counts: str) -> NDArray[np.int64]:
    """The runs of a packed text."""
    try:
        bits = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - _FIRST
    except UnicodeEncodeError as error:
        raise NotMask("its runs hold a character that no mask has") from error
    if not len(bits):
        return bits
    if bits.min() < 0 or bits.max() > (_DIGIT | _MORE) or bits[-1] & _MORE:
        raise NotMask("its runs hold a character that no mask has, or end too early")
    last = np.flatnonzero(bits & _MORE == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = last - first + 1
    if lengths.max() > _MAX_CHARACTERS:
        raise NotMask("its runs hold a number that is too large")
    places = np.arange(len(bits)) - np.repeat(first, lengths)
    runs = np.add.reduceat((bits & _DIGIT) << (5 * places), first)
    runs -= np.where(bits[last] & _SIGN, np.int64(1) << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
