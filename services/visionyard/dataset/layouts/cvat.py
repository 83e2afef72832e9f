"""CVAT for images 1.1: ``annotations.xml`` and ``images/{split}/{name}``, as CVAT exports a project whose subsets are the splits.

The format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. What a model predicted and nobody has confirmed has ``source="auto"`` and its confidence as an attribute; in CVAT
it is looked through, corrected and deleted, and what is exported then and imported here again are persons' labels (see :mod:`visionyard.dataset.formats.cvat`).
"""

from __future__ import annotations

import colorsys
import math
from collections import Counter
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

import cv2
import numpy as np

from visionyard.dataset.formats.shapes import rotated_corners
from visionyard.dataset.layouts.layout import Layout, OutFile, Rows
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.layout import image_path
from visionyard.kit.artifacts.manifest import Label, ManifestRow
from visionyard.kit.errors import Reason, YardError

_TYPES = {"detect": "rectangle", "segment": "polygon", "obb": "rectangle", "classify": "tag"}
"""The type of label in CVAT by task."""
_GOLDEN = 0.618033988749895
"""Steps of this share of the circle put the hues of few classes far apart, and of many still apart."""
_OFF_PX = 0.01
"""Four corners whose box is so near are the box's own."""
_CONFIDENCE = (
    "<attribute><name>confidence</name><mutable>False</mutable><input_type>text</input_type>"
    "<default_value></default_value><values></values></attribute>"
)


class CvatLayout(Layout):
    """The annotation file, then the images of each split in its folder.

    CVAT's skeletons have no box but the one around their points, so a ``pose`` version would come back with other boxes: it is refused.
    """

    name = "cvat"

    def files(self, version: DatasetVersion, rows: Rows) -> Iterator[OutFile]:
        """See :meth:`Layout.files`."""
        if version.task not in _TYPES:
            raise YardError(
                Reason.UNSUPPORTED_TASK,
                f"{version.name} is for the task {version.task}, and CVAT's skeletons would lose its boxes: download it as coco",
                {"task": version.task},
            )
        yield OutFile.of_pieces("annotations.xml", _Writer(version, rows).pieces)
        for row in rows():
            yield OutFile.of_image(image_path(row), row)


class _Writer:
    """Writes the annotation file, an image at a time.

    Into a project CVAT imports images and annotations together, and knows images by subset and name. Into a task that was made of the same images in folders it
    falls back to their ids, so these count in the order in which CVAT sorts a task's images, by their paths.
    """

    def __init__(self, version: DatasetVersion, rows: Rows) -> None:
        self._version = version
        self._rows = rows
        self._names = [quoteattr(name) for name in version.class_names]
        self._predicted = any(label.confidence is not None for row in rows() for label in row.labels)

    def pieces(self) -> Iterator[bytes]:
        yield self._head().encode()
        counts = Counter({split.name: split.image_count for split in self._version.splits})
        next_id = {split: sum(counts[other] for other in counts if other < split) for split in counts}
        for row in self._rows():
            yield self._image(next_id[row.split], row).encode()
            next_id[row.split] += 1
        yield b"</annotations>\n"

    def _head(self) -> str:
        version = self._version
        attributes = _CONFIDENCE if self._predicted else ""
        labels = "".join(
            f"        <label><name>{escape(name)}</name><color>{_colour(i)}</color><type>{_TYPES[version.task]}</type>"
            f"<attributes>{attributes}</attributes></label>\n"
            for i, name in enumerate(version.class_names)
        )
        subsets = "\n".join(split.name for split in version.splits)
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <project>\n'
            f"      <name>{escape(str(version.name))}</name>\n      <mode>annotation</mode>\n      <subsets>{subsets}</subsets>\n"
            f"      <labels>\n{labels}      </labels>\n    </project>\n  </meta>\n"
        )

    def _image(self, number: int, row: ManifestRow) -> str:
        shapes = "".join(self._shape(label, row) for label in row.labels)
        size = f'width="{row.width}" height="{row.height}"'
        return f'  <image id="{number}" name={quoteattr(row.name)} subset="{row.split}" {size}>\n{shapes}  </image>\n'

    def _shape(self, label: Label, row: ManifestRow) -> str:
        source = "manual" if label.confidence is None else "auto"
        element, geometry = _geometry(self._version.task, label, row)
        confidence = "" if label.confidence is None else f'<attribute name="confidence">{label.confidence:.6g}</attribute>'
        return f'    <{element} label={self._names[label.class_id]} source="{source}"{geometry}>{confidence}</{element}>\n'


def _geometry(task: str, label: Label, row: ManifestRow) -> tuple[str, str]:
    """A label's element and the attributes that tell where it is, in pixels."""
    if task == "classify":
        return "tag", ""
    corners = [value * (row.width, row.height)[i % 2] for i, value in enumerate(label.points)]
    if task == "segment":
        points = ";".join(f"{_pixels(x)},{_pixels(y)}" for x, y in zip(corners[0::2], corners[1::2], strict=True))
        return "polygon", f' occluded="0" points="{points}" z_order="0"'
    cx, cy, width, height, degrees = label.cx * row.width, label.cy * row.height, label.w * row.width, label.h * row.height, 0.0
    if task == "obb":
        cx, cy, width, height, degrees = rotated_box(corners)
    edges = zip(("xtl", "ytl", "xbr", "ybr"), (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2), strict=True)
    box = "".join(f' {name}="{_pixels(value)}"' for name, value in edges)
    turn = f' rotation="{_pixels(degrees)}"' if degrees else ""
    return "box", f' occluded="0"{box}{turn} z_order="0"'


def rotated_box(corners: list[float]) -> tuple[float, float, float, float, float]:
    """The box turned around its centre that four corners are of; where they are of none, the smallest one around them, which is what Ultralytics trains on.

    Args:
        corners: x and y of each, in pixels, around the box.

    Returns:
        The centre's x and y, width and height before the turn in pixels, and the turn in degrees clockwise on the screen, from 0 up to 360.
    """
    p = np.array(corners, dtype=np.float64).reshape(4, 2)
    cx, cy = p.mean(axis=0).tolist()
    along, down = (p[1] - p[0] + p[2] - p[3]) / 2, (p[3] - p[0] + p[2] - p[1]) / 2
    width, height = math.hypot(*along), math.hypot(*down)
    degrees = math.degrees(math.atan2(along[1], along[0]))
    if np.abs(np.array(rotated_corners(cx, cy, width, height, degrees)) - np.array(corners)).max() > _OFF_PX:
        (cx, cy), (width, height), degrees = cv2.minAreaRect(p.astype(np.float32))
    return cx, cy, width, height, round(degrees, 6) % 360


def _pixels(value: float) -> str:
    """A number to a millionth."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _colour(number: int) -> str:
    """A colour for the class of that number, the same in every version."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, 0.9))
    return f"#{red:02x}{green:02x}{blue:02x}"
