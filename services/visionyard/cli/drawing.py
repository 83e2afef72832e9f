"""Boxes with class names on pictures."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import cv2
import numpy as np

from visionyard.kit.vision.decode import decode_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from visionyard.inference.v1 import prediction_service_pb2

_GOLDEN_RATIO = 0.618034
_JPEG_QUALITY = 92
_DARK, _LIGHT = (0, 0, 0), (255, 255, 255)
_WEIGHT = 600
"""Semibold."""
_MIN_TEXT_PX, _TEXT_SHARE, _LINE_SHARE = 12, 45, 320

Colour = tuple[int, int, int]


def colour_of(class_id: int) -> Colour:
    """A class's colour, BGR: hues a golden ratio apart, so that neighbours differ."""
    red, green, blue = colorsys.hsv_to_rgb((class_id * _GOLDEN_RATIO + 0.02) % 1, 0.85 if class_id % 2 else 0.7, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever reads better on it (relative luminance after ITU-R BT.601)."""
    blue, green, red = background
    return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _LIGHT  # noqa: PLR2004 - a little above the middle


def draw(data: bytes, prediction: prediction_service_pb2.Prediction) -> bytes:
    """A JPEG of the picture with its boxes, surest on top.

    Args:
        data: The JPEG or PNG file that was predicted on.
        prediction: What was found in it.

    Raises:
        YardError: IMAGE_UNREADABLE, IMAGE_TOO_LARGE.
    """
    canvas = np.ascontiguousarray(decode_image(data)[:, :, ::-1])
    side = min(canvas.shape[:2])
    line = max(1, round(side / _LINE_SHARE))
    text = max(_MIN_TEXT_PX, side // _TEXT_SHARE)
    font = cv2.FontFace("sans")
    detections = list(reversed(prediction.detection.detections))
    for detection in detections:
        box = detection.box
        cv2.rectangle(canvas, _corner(box), (round(box.x2), round(box.y2)), colour_of(detection.class_id), line, cv2.LINE_AA)
    for detection in detections:
        label = f"{detection.class_name} {detection.confidence:.2f}"
        _label(canvas, label, _corner(detection.box), colour_of(detection.class_id), font, text)
    _, encoded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encoded.tobytes()


def _corner(box: prediction_service_pb2.Box) -> tuple[int, int]:
    return round(box.x1), round(box.y1)


def _label(canvas: NDArray[np.uint8], text: str, corner: tuple[int, int], colour: Colour, font: cv2.FontFace, size: int) -> None:
    """A filled label above the box's corner, or inside it where there is no room above."""
    height, width = canvas.shape[:2]
    _, up, across, tall = cv2.getTextSize((width, height), text, (0, 0), font, size, _WEIGHT)
    pad = max(2, size // 6)
    left = max(0, min(corner[0], width - across - 2 * pad))
    top = corner[1] - tall - 2 * pad if corner[1] >= tall + 2 * pad else max(corner[1], 0)
    cv2.rectangle(canvas, (left, top), (left + across + 2 * pad, top + tall + 2 * pad), colour, cv2.FILLED)
    cv2.putText(canvas, text, (left + pad, top + pad - up), text_colour(colour), font, size, _WEIGHT)
