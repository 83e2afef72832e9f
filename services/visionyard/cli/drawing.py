"""Predictions on pictures: boxes with class names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from visionyard.kit.vision.decode import decode_image
from visionyard.kit.vision.drawing import colour_of, draw_box, draw_tag

if TYPE_CHECKING:
    from visionyard.inference.v1 import prediction_service_pb2

_JPEG_QUALITY = 92
_MIN_TEXT_PX, _TEXT_SHARE, _LINE_SHARE = 12, 45, 320


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
    detections = list(reversed(prediction.detection.detections))
    for detection in detections:
        box = detection.box
        draw_box(canvas, (box.x1, box.y1), (box.x2, box.y2), colour_of(detection.class_id), line)
    for detection in detections:
        label = f"{detection.class_name} {detection.confidence:.2f}"
        draw_tag(canvas, label, (detection.box.x1, detection.box.y1), colour_of(detection.class_id), text)
    _, encoded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encoded.tobytes()
