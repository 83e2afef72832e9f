"""Thumbnails of a version's images with their labels drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from visionyard.kit.artifacts.dataset import DatasetVersion, read_images
from visionyard.kit.artifacts.manifest import Label, ManifestRow
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.vision.decode import decode_image
from visionyard.kit.vision.drawing import colour_of, draw_box, draw_keypoints, draw_outline, draw_tag

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 82, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
"""Colours at full resolution, or lines a pixel wide would fade."""
_MAX_DRAWN = 1000
"""Labels beyond that many could not be told apart anyway."""
_TAGGED_FROM_PX = 240
"""Only on thumbnails of that size words can be read."""
_MAX_TAGGED = 30
_TAG_PX, _TAG_CHARACTERS = 11, 24
_AT_ONCE = 32


def thumbnails(store: ObjectStore, version: DatasetVersion, rows: Iterable[ManifestRow], side: int) -> Iterator[tuple[ManifestRow, bytes]]:
    """A JPEG file of each row's picture, in the order of the rows. Blocks; holds 32 thumbnails and one picture at a time.

    Args:
        store: The bucket.
        version: Whose rows they are.
        rows: The images.
        side: The longer side of a thumbnail in pixels; a smaller picture stays as it is.

    Raises:
        YardError: ARTIFACT_CORRUPT, an image is gone or damaged.
    """
    run: list[ManifestRow] = []
    for row in rows:
        run.append(row)
        if len(run) == _AT_ONCE:
            yield from _in_order(store, version, run, side)
            run = []
    yield from _in_order(store, version, run, side)


def _in_order(store: ObjectStore, version: DatasetVersion, run: Sequence[ManifestRow], side: int) -> Iterator[tuple[ManifestRow, bytes]]:
    made = {(row.split, row.name): thumbnail(data, version, row.labels, side) for row, data in read_images(store, run, version)}
    for row in run:
        yield row, made[row.split, row.name]


def thumbnail(data: bytes, version: DatasetVersion, labels: Sequence[Label], side: int) -> bytes:
    """A JPEG file of one picture with its labels.

    Args:
        data: The JPEG or PNG file.
        version: Tells the task, classes and keypoints.
        labels: The image's.
        side: Of the longer side in pixels, at most.

    Raises:
        YardError: IMAGE_UNREADABLE, IMAGE_TOO_LARGE.
    """
    picture = decode_image(data)
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[:, :, ::-1], dtype=np.uint8)
    if version.task != "classify":
        for label in labels[:_MAX_DRAWN]:
            _draw(canvas, label, version)
    if side >= _TAGGED_FROM_PX:
        for label in labels[:_MAX_TAGGED]:
            _tag(canvas, label, version)
    _, encoded = cv2.imencode(".jpg", canvas, _JPEG)
    return encoded.tobytes()


def _draw(canvas: NDArray[np.uint8], label: Label, version: DatasetVersion) -> None:
    height, width = canvas.shape[:2]
    line, colour = max(1, round(max(height, width) / 160)), colour_of(label.class_id)
    if version.task in {"segment", "obb"} and label.points:
        draw_outline(canvas, [(x * width, y * height) for x, y in _pairs(label.points, 2)], colour, line)
        return
    low, high = _corners(label, width, height)
    draw_box(canvas, low, high, colour, line)
    if version.task == "pose" and version.keypoints:
        step = version.keypoints.dimensions
        seen = [(x * width, y * height) for x, y in _pairs(label.points, step) if (x, y) != (0.0, 0.0)]
        draw_keypoints(canvas, seen, colour, line)


def _pairs(points: Sequence[float], step: int) -> Iterator[tuple[float, float]]:
    return ((points[at], points[at + 1]) for at in range(0, len(points) - step + 1, step))


def _corners(label: Label, width: int, height: int) -> tuple[tuple[float, float], tuple[float, float]]:
    left, top = (label.cx - label.w / 2) * width, (label.cy - label.h / 2) * height
    right, bottom = (label.cx + label.w / 2) * width, (label.cy + label.h / 2) * height
    return (left, top), (min(right, width - 1), min(bottom, height - 1))


def _tag(canvas: NDArray[np.uint8], label: Label, version: DatasetVersion) -> None:
    height, width = canvas.shape[:2]
    text = version.classes[label.class_id].name[:_TAG_CHARACTERS]
    if label.confidence is not None:
        text += f" {label.confidence:.2f}"
    draw_tag(canvas, text, _corners(label, width, height)[0], colour_of(label.class_id), _TAG_PX)
