"""Masks that are written row by row (CVAT's runs, LabelMe's pictures) as polygons.

The runs of such a mask are those of COCO's format, which go column by column, for the mask mirrored at its diagonal; so COCO's reader does the work, and keeps its bounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.joined_parts import MAX_PARTS, join_parts
from visionyard.dataset.formats.run_lengths import MaskReader, NotMask
from visionyard.dataset.formats.shapes import Shape, WrittenLabel

_FAR = 1 << 24
"""No picture has so many pixels on a side."""


class RowMasks:
    """Reads the masks of one labelling, and bounds the work that all of them make."""

    def __init__(self) -> None:
        self._reader = MaskReader()

    def written(self, line: int, class_id: int, runs: list[int], size: tuple[int, int], at: tuple[float, float]) -> WrittenLabel:
        """The label of a mask: one polygon along the edges of its pixels, its parts joined, its holes filled; and the box of all its pixels.

        Args:
            line: Of the label.
            class_id: Likewise.
            runs: Lengths in pixels, in turn outside and inside.
            size: The mask's width and height.
            at: Where its left upper corner lies in the picture, x and y: whole pixels; what lies between is cut off.

        Raises:
            NotMask: it is none, holds nothing, or makes too much work.
        """
        width, height = size
        x, y = at
        if not abs(x) + abs(y) < _FAR:
            raise NotMask("it lies outside of all pictures")
        outline = self._reader.outline({"size": [width, height], "counts": runs})
        if len(outline.parts) > MAX_PARTS:
            raise NotMask(f"it has {len(outline.parts)} parts, more than the {MAX_PARTS} that are read")
        top, left, bottom, right = outline.box
        x, y = int(x), int(y)
        points = join_parts(outline.parts)[:, ::-1] + (x, y)
        note = Code.HOLES_FILLED if outline.holes else Code.PARTS_JOINED if len(outline.parts) > 1 else None
        box = (left + x, top + y, right + x, bottom + y)
        return WrittenLabel(line, class_id=class_id, shape=Shape.POLYGON, box=box, points=tuple(points.ravel().tolist()), note=note)


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """The runs of a mask, BOOL [height, width], row by row, in turn outside and inside."""
    flat = np.concatenate(([False], mask.ravel()))
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate(([0], changes, [mask.size]))).tolist()  # type: ignore[no-any-return]  # NumPy types no list
