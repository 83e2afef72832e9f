"""COCO JSON: ``annotations/instances_{split}.json`` (``person_keypoints_{split}.json`` for poses) and ``images/{split}/{name}``.

The format: https://cocodataset.org/#format-data. Category ids count from 1 in the order of the classes, image and annotation ids from 1 through all splits, so that files can
be put together. A rotated box, for which COCO has no word, is written as CVAT and Datumaro write it, with ``attributes.rotation``, beside a polygon of its four corners and the upright
box around it, which any reader understands. What was predicted and nobody has confirmed has a ``score``.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

from visionyard.dataset.layouts.layout import Layout, OutFile, Rows
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.layout import image_path
from visionyard.kit.artifacts.manifest import Label, ManifestRow
from visionyard.kit.errors import Reason, YardError

_TASKS = ("detect", "segment", "pose", "obb")
_DIGITS = 6
"""A millionth of a pixel."""
_SEEN = 2


class CocoLayout(Layout):
    """An annotation file a split, then the images of each split in its folder."""

    name = "coco"

    def files(self, version: DatasetVersion, rows: Rows) -> Iterator[OutFile]:
        """See :meth:`Layout.files`."""
        if version.task not in _TASKS:
            raise YardError(
                Reason.UNSUPPORTED_TASK,
                f"{version.name} is for the task {version.task}, and COCO's files hold no such labels: download it as yolo",
                {"task": version.task},
            )
        for split in version.splits:
            yield OutFile.of_pieces(f"annotations/{_kind(version)}_{split.name}.json", _Writer(version, rows, split.name).pieces)
        for row in rows():
            yield OutFile.of_image(image_path(row), row)


def _kind(version: DatasetVersion) -> str:
    return "person_keypoints" if version.task == "pose" else "instances"


class _Writer:
    """Writes the annotation file of one split."""

    def __init__(self, version: DatasetVersion, rows: Rows, split: str) -> None:
        self._version = version
        self._rows = rows
        self._split = split
        before = list(itertools.takewhile(lambda other: other.name != split, version.splits))
        self._first_image = 1 + sum(other.image_count for other in before)
        self._first_annotation = 1 + sum(other.label_count for other in before)

    def pieces(self) -> Iterator[bytes]:
        head = {"info": {"description": str(self._version.name)}, "licenses": [], "categories": list(self._categories())}
        yield _dump(head)[:-1] + b', "images": [\n'
        yield from _joined(self._images())
        yield b'], "annotations": [\n'
        yield from _joined(self._annotations())
        yield b"]}\n"

    def _numbered(self) -> Iterator[tuple[int, ManifestRow]]:
        """The split's rows with their image ids."""
        return enumerate((row for row in self._rows() if row.split == self._split), start=self._first_image)

    def _categories(self) -> Iterator[dict[str, Any]]:
        layout = self._version.keypoints
        for c in self._version.classes:
            category = {"id": c.id + 1, "name": c.name, "supercategory": ""}
            if layout is not None:
                category |= {"keypoints": list(layout.names) or [f"keypoint_{i}" for i in range(layout.count)], "skeleton": []}
            yield category

    def _images(self) -> Iterator[dict[str, Any]]:
        for number, row in self._numbered():
            yield {"id": number, "file_name": row.name, "width": row.width, "height": row.height}

    def _annotations(self) -> Iterator[dict[str, Any]]:
        numbers = itertools.count(self._first_annotation)
        for image, row in self._numbered():
            for label in row.labels:
                yield {"id": next(numbers), "image_id": image, "category_id": label.class_id + 1, **self._geometry(label, row)}

    def _geometry(self, label: Label, row: ManifestRow) -> dict[str, Any]:
        """What an annotation says of its object, in pixels."""
        width, height = label.w * row.width, label.h * row.height
        left, top = label.cx * row.width - width / 2, label.cy * row.height - height / 2
        written: dict[str, Any] = {"bbox": _rounded(left, top, width, height), "area": round(width * height, _DIGITS), "iscrowd": 0}
        if self._version.task in {"segment", "obb"}:
            corners = [value * (row.width, row.height)[i % 2] for i, value in enumerate(label.points)]
            written |= {"segmentation": [_rounded(*corners)], "area": round(_area(corners), _DIGITS)}
            if self._version.task == "obb":
                written["attributes"] = {"rotation": round(_degrees(corners), _DIGITS)}
        else:
            written["segmentation"] = []
        if self._version.task == "pose":
            written |= self._keypoints(label, row)
        if label.confidence is not None:
            written["score"] = label.confidence
        return written

    def _keypoints(self, label: Label, row: ManifestRow) -> dict[str, Any]:
        """Keypoints with their visibility; where a version has none, as Ultralytics takes it: one at 0, 0 is not there."""
        layout = self._version.keypoints
        step = layout.dimensions if layout else 3
        values: list[float] = []
        for at in range(0, len(label.points), step):
            x, y, *seen = label.points[at : at + step]
            values += [*_rounded(x * row.width, y * row.height), int(seen[0]) if seen else _SEEN * bool(x or y)]
        return {"keypoints": values, "num_keypoints": sum(value > 0 for value in values[2::3])}


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _joined(items: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """A line an item."""
    for i, item in enumerate(items):
        yield (b",\n" if i else b"") + _dump(item)


def _rounded(*values: float) -> list[float]:
    return [round(value, _DIGITS) for value in values]


def _area(corners: list[float]) -> float:
    """Of a polygon, by the shoelace formula."""
    x, y = corners[0::2], corners[1::2]
    return abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2


def _degrees(corners: list[float]) -> float:
    """Which way the first side of four corners goes: clockwise from rightwards."""
    x1, y1, x2, y2 = corners[:4]
    return math.degrees(math.atan2(y2 - y1, x2 - x1))
