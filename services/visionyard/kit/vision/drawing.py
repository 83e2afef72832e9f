"""Draws labels on pictures: boxes, outlines, keypoints, and tags with words; each class in a colour of its own."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Blue, green, red, 0 to 255, as OpenCV has it."""
Corner = tuple[float, float]
"""x and y in pixels."""

_GOLDEN_RATIO = 0.618034
_DARK, _LIGHT = (0, 0, 0), (255, 255, 255)
_WEIGHT = 600
"""Semibold."""
_FILL = 0.25
_SUB_PIXEL_BITS = 4


def colour_of(class_id: int) -> Colour:
    """A class's colour, BGR: hues a golden ratio apart, so that neighbours differ."""
    red, green, blue = colorsys.hsv_to_rgb((class_id * _GOLDEN_RATIO + 0.02) % 1, 0.85 if class_id % 2 else 0.7, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever reads better on it (relative luminance after ITU-R BT.601)."""
    blue, green, red = background
    return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _LIGHT  # noqa: PLR2004 - a little above the middle


def draw_box(canvas: NDArray[np.uint8], low: Corner, high: Corner, colour: Colour, line: int) -> None:
    """Draws a box.

    Args:
        canvas: UINT8 [height, width, 3], BGR; drawn on.
        low: Its upper left corner.
        high: Its lower right corner.
        colour: Of the line.
        line: The line's width in pixels.
    """
    cv2.rectangle(canvas, _pixel(low), _pixel(high), colour, line, cv2.LINE_AA)


def draw_outline(canvas: NDArray[np.uint8], corners: Sequence[Corner], colour: Colour, line: int) -> None:
    """Draws a polygon, or a rotated box, filled a little; arguments as those of :func:`draw_box`."""
    points = np.round(np.array(corners, dtype=np.float64).reshape(-1, 2) * (1 << _SUB_PIXEL_BITS)).astype(np.int32)
    if not len(points):
        return
    whole = points >> _SUB_PIXEL_BITS
    left, top = np.clip(whole.min(axis=0), 0, None)
    right, bottom = np.clip(whole.max(axis=0) + 1, 0, None)
    part = canvas[top:bottom, left:right]
    if part.size:
        filled = part.copy()
        shift = np.array([left, top], dtype=np.int32) << _SUB_PIXEL_BITS
        cv2.fillPoly(filled, [points - shift], colour, cv2.LINE_AA, _SUB_PIXEL_BITS)
        cv2.addWeighted(filled, _FILL, part, 1 - _FILL, 0.0, part)
    cv2.polylines(canvas, [points], True, colour, line, cv2.LINE_AA, _SUB_PIXEL_BITS)


def draw_keypoints(canvas: NDArray[np.uint8], points: Sequence[Corner], colour: Colour, radius: int) -> None:
    """Draws dots with a dark rim; arguments as those of :func:`draw_box`, ``radius`` in pixels."""
    for point in points:
        cv2.circle(canvas, _pixel(point), radius + 1, _DARK, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(canvas, _pixel(point), radius, colour, cv2.FILLED, cv2.LINE_AA)


def draw_tag(canvas: NDArray[np.uint8], text: str, corner: Corner, colour: Colour, size: int) -> None:
    """Draws words on a filled ground above a box's corner, or inside it where there is no room above.

    Args:
        canvas: UINT8 [height, width, 3], BGR; drawn on.
        text: The words.
        corner: The box's upper left corner.
        colour: Of the ground.
        size: The words' height in pixels.
    """
    font, (x, y) = cv2.FontFace("sans"), _pixel(corner)
    height, width = canvas.shape[:2]
    _, up, across, tall = cv2.getTextSize((width, height), text, (0, 0), font, size, _WEIGHT)
    pad = max(2, size // 6)
    left = max(0, min(x, width - across - 2 * pad))
    top = y - tall - 2 * pad if y >= tall + 2 * pad else max(y, 0)
    cv2.rectangle(canvas, (left, top), (left + across + 2 * pad, top + tall + 2 * pad), colour, cv2.FILLED)
    cv2.putText(canvas, text, (left + pad, top + pad - up), text_colour(colour), font, size, _WEIGHT)


def _pixel(corner: Corner) -> tuple[int, int]:
    return round(corner[0]), round(corner[1])
