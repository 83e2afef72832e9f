"""A label as items of a Label Studio result.

The format: https://labelstud.io/guide/export#Label-Studio-JSON-format-of-annotated-tasks; units and turns as :mod:`visionyard.dataset.formats.label_studio_shapes` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from visionyard.dataset.formats.label_studio_shapes import turned_corners
from visionyard.kit.artifacts.dataset import DatasetVersion, KeypointLayout
from visionyard.kit.artifacts.manifest import Label

PICTURE, CLASS, KEYPOINTS, VISIBILITY = "image", "class", "keypoints", "visibility"
"""The names of the tags of the labelling interface."""
CONTROL: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "detect": ("RectangleLabels", "Label"),
        "segment": ("PolygonLabels", "Label"),
        "classify": ("Choices", "Choice"),
        "pose": ("RectangleLabels", "Label"),
        "obb": ("RectangleLabels", "Label"),
    }
)
"""By task the control that holds its labels, and what it consists of."""
_HIDDEN = 1
_DOT_PERCENT = 0.5
"""How large a keypoint is drawn."""
_SAME_PX = 0.5


def keypoint_names(layout: KeypointLayout) -> list[str]:
    """What the keypoints are called: their own names where each has one, else ``keypoint_1`` and so on."""
    names = list(layout.names)
    return names if len(set(names)) == layout.count and all(names) else [f"keypoint_{i + 1}" for i in range(layout.count)]


class Items:
    """Writes labels of one version.

    Args:
        version: Its task, classes and keypoints count.
    """

    def __init__(self, version: DatasetVersion) -> None:
        self._task = version.task
        self._classes = version.class_names
        self._keypoints = version.keypoints
        self._names = keypoint_names(version.keypoints) if version.keypoints else []

    def of(self, label: Label, width: int, height: int, region: str) -> Iterator[dict[str, Any]]:
        """The items of a label.

        Args:
            label: The label.
            width: Of the upright picture, in pixels.
            height: Likewise.
            region: An id that no other label of the task has.
        """
        name = self._classes[label.class_id]
        common: dict[str, Any] = {"id": region, "to_name": PICTURE}
        if label.confidence is not None:
            common["score"] = label.confidence
        if self._task == "classify":
            yield {**common, "from_name": CLASS, "type": "choices", "value": {"choices": [name]}}
            return
        common |= {"original_width": width, "original_height": height, "image_rotation": 0}
        if self._task == "segment" and label.points:
            corners = [[x * 100, y * 100] for x, y in zip(label.points[0::2], label.points[1::2], strict=True)]
            value: dict[str, Any] = {"points": corners, "closed": True, "polygonlabels": [name]}
            yield {**common, "from_name": CLASS, "type": "polygonlabels", "value": value}
            return
        place = _turned(label.points, width, height) if self._task == "obb" and label.points else _upright(label)
        yield {**common, "from_name": CLASS, "type": "rectanglelabels", "value": {**place, "rectanglelabels": [name]}}
        if self._task == "pose" and self._keypoints:
            yield from self._points(label, self._keypoints.dimensions, common)

    def _points(self, label: Label, dimensions: int, common: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The keypoints that are there, as children of their rectangle; of a hidden one also the answer that says so."""
        region = common["id"]
        for i in range(0, len(label.points), dimensions):
            x, y, *rest = label.points[i : i + dimensions]
            visibility = rest[0] if rest else float(bool(x or y)) * 2
            if not visibility:
                continue
            item = {**common, "id": f"{region}-{i // dimensions + 1}", "parentID": region}
            place = {"x": x * 100, "y": y * 100, "width": _DOT_PERCENT}
            value = {**place, "keypointlabels": [self._names[i // dimensions]]}
            yield {**item, "from_name": KEYPOINTS, "type": "keypointlabels", "value": value}
            if visibility == _HIDDEN:
                yield {**item, "from_name": VISIBILITY, "type": "choices", "value": {**place, "choices": ["hidden"]}}


def _upright(label: Label) -> dict[str, float]:
    left, top = label.cx - label.w / 2, label.cy - label.h / 2
    return {"x": left * 100, "y": top * 100, "width": label.w * 100, "height": label.h * 100, "rotation": 0}


def _turned(points: tuple[float, ...], width: int, height: int) -> dict[str, float]:
    """Four corners as a rectangle turned around its first corner: their own where they are one, else the smallest around them, as Ultralytics takes it."""
    pixels = np.array(points, dtype=np.float64).reshape(-1, 2) * (width, height)
    for corners in (pixels, np.roll(pixels[::-1], 1, axis=0)):  # clockwise, or else the other way round from the same corner
        found = _rectangle(corners)
        if _distance(found, corners) <= _SAME_PX:
            break
    else:
        found = _rectangle(_clockwise(cv2.boxPoints(cv2.minAreaRect(pixels.astype(np.float32))).astype(np.float64)))
    x, y, wide, high, turn = found
    return {"x": x / width * 100, "y": y / height * 100, "width": wide / width * 100, "height": high / height * 100, "rotation": turn}


def _rectangle(corners: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, float, float, float]:
    """First corner, sides and turn in degrees of the rectangle that has the first, second and fourth of these corners, if they are one's."""
    (x, y), along, down = corners[0], corners[1] - corners[0], corners[3] - corners[0]
    return float(x), float(y), math.hypot(*along), math.hypot(*down), math.degrees(math.atan2(along[1], along[0])) % 360


def _distance(found: tuple[float, float, float, float, float], corners: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """How far, in pixels, the farthest corner of a rectangle is from where it should be."""
    return float(np.abs(np.array(turned_corners(*found)).reshape(4, 2) - corners).max())


def _clockwise(corners: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The corners in the order in which they follow each other clockwise on the screen."""
    along, down = corners[1] - corners[0], corners[3] - corners[0]
    return corners if along[0] * down[1] - along[1] * down[0] >= 0 else corners[::-1]
