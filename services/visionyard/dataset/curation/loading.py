"""Puts the rows of versions among the held images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from visionyard.dataset.formats.shapes import LabelRow
from visionyard.dataset.held import HeldImage, HeldImages
from visionyard.dataset.shards import Place
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import Label, ManifestRow

_ROWS_A_CHECK = 1000


def load_rows(
    held: HeldImages,
    version: DatasetVersion,
    rows: Iterator[ManifestRow],
    check: Callable[[], None],
    class_ids: Sequence[int] | None = None,
) -> None:
    """Takes all images of a version, with their names, splits and labels.

    Args:
        held: Where they go.
        version: Whose they are.
        rows: Its rows.
        check: Called often; raises where the work is to stop.
        class_ids: What each of its class ids becomes; None: they stay.
    """
    for number, row in enumerate(rows):
        if number % _ROWS_A_CHECK == 0:
            check()
        held.add(held_image(version, row, class_ids))


def held_image(version: DatasetVersion, row: ManifestRow, class_ids: Sequence[int] | None = None) -> HeldImage:
    """An image of a version as one that is held."""
    return HeldImage(
        path=f"{version.name.parent.id}/{row.split}/{row.name}",
        split=row.split,
        sha256=row.sha256,
        width=row.width,
        height=row.height,
        place=Place(row.shard, row.offset, row.length),
        labels=[label_row(label, class_ids) for label in row.labels],
        phash=row.phash,
        name=row.name,
    )


def label_row(label: Label, class_ids: Sequence[int] | None = None) -> LabelRow:
    """A version's label as a row that is in its task's shape already."""
    return LabelRow(
        0,
        class_id=label.class_id if class_ids is None else class_ids[label.class_id],
        cx=label.cx,
        cy=label.cy,
        w=label.w,
        h=label.h,
        points=label.points,
        confidence=label.confidence,
    )
