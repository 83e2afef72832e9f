"""``labelmap.txt`` beside a Pascal VOC set, as CVAT and Datumaro write it: the classes in their order, a line each, with colour, parts and actions.

The format: https://docs.cvat.ai/docs/manual/advanced/formats/format-voc/ (``# label:color_rgb:parts:actions``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from visionyard.dataset.source import SourceTree, decode_text

LABELMAP = "labelmap.txt"
_HEAD = "# label:color_rgb:parts:actions"
_LINE = re.compile(r"(?P<name>.+):(?P<color>|\d{1,3},\d{1,3},\d{1,3}):[^:]*:[^:]*")
_NOTHING = ("background", "0,0,0")
"""CVAT's first line: the colour of what is no object in masks, which is no class."""


def labelmap_text(names: Iterable[str]) -> str:
    """The file for these classes."""
    return "\n".join([_HEAD, *(f"{name}:::" for name in names)]) + "\n"


def read_labelmap(tree: SourceTree) -> list[str]:
    """The classes that the source's labelmap (of several the one that lies highest) names, in its order; none where there is no such file."""
    path = min(tree.texts_called("labelmap", "txt"), key=lambda path: (path.count("/"), path), default=None)
    if path is None:
        return []
    found = (_LINE.fullmatch(line) for line in decode_text(tree.read(path)).splitlines() if line != _HEAD)
    return [line["name"].strip() for line in found if line and (line["name"], line["color"]) != _NOTHING and line["name"].strip()]
