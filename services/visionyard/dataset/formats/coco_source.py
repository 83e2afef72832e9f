"""A COCO labelling as it was read: rows on demand, from the staging database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.coco_categories import CocoCategories
from visionyard.dataset.formats.labelled import LabelledSource
from visionyard.dataset.formats.shapes import LabelRow, Shape
from visionyard.dataset.formats.staged import LabelSpool
from visionyard.dataset.source import SourceTree

_SAME_SHAPE = 0.01
_NUMBERS_A_KEYPOINT = 3


class CocoSource(LabelledSource):
    """A COCO source. Build it with :func:`.coco.read_coco`.

    Pictures that were scaled since they were labelled (the file has another size of the same shape for them) keep their labels in place; where the shape differs too, as
    with labels drawn on a picture that lay on its side, pixels are taken as written. Either is listed.

    Args:
        tree: The source; its staging database holds the table ``coco_images`` and the labels.
        categories: What the files declare.

    Attributes:
        files: The labelling's files.
    """

    format = "coco"

    def __init__(self, tree: SourceTree, categories: CocoCategories) -> None:
        super().__init__(tree.staging)
        self._staging = tree.staging
        self._spool = LabelSpool(tree.staging)
        self._categories = categories
        self.files: list[str] = []
        self._unknown: dict[int, str] | None = None

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """See :meth:`LabelledSource.rows`."""
        found = self._staging.one("SELECT name, width, height FROM coco_images WHERE key = ?", (labels,))
        name, wide, high = found or ("", 0, 0)
        if self._unknown is None:
            self._unknown = self._categories.unknown()
        size = self._true_size(labels, name, (wide, high), (width, height))
        for row in self._spool.rows(labels, *size):
            yield self._checked(row, name)

    def _true_size(self, labels: str, name: str, written: tuple[int, int], real: tuple[int, int]) -> tuple[int, int]:
        """The size that the labels' pixels are of."""
        if not all(written) or not all(real) or written == real:
            return real
        x, y = written[0] / real[0], written[1] / real[1]
        scaled = abs(x - y) <= _SAME_SHAPE * max(x, y)
        self.notes.add(
            Code.SIZE_MISMATCH,
            f"{name!r} was labelled as a picture of {written[0]} x {written[1]} pixels, but it has {real[0]} x {real[1]}"
            + ("; its labels were scaled with it" if scaled else ""),
            self.file_of(labels),
        )
        return written if scaled else real

    def _checked(self, row: LabelRow, name: str) -> LabelRow:
        """The row, with what is known only when the whole file has been read."""
        if row.problem is None and self._unknown and row.class_id in self._unknown:
            written = self._unknown[row.class_id]
            row = LabelRow(row.line, Code.UNKNOWN_CLASS, f"has the category {written!r}, which the file does not declare")
        if row.problem is None and row.shape is Shape.KEYPOINTS:
            row = self._with_all_keypoints(row)
        return replace(row, message=f"{row.message} (image {name!r})") if row.problem is not None and name else row

    def _with_all_keypoints(self, row: LabelRow) -> LabelRow:
        """A category may have fewer keypoints than another; the rest is not there."""
        layout = self._categories.keypoints() if self.keypoints is None else self.keypoints
        count, wanted = len(row.points) // _NUMBERS_A_KEYPOINT, layout.count if layout else 0
        if count > wanted:
            return LabelRow(row.line, Code.MALFORMED_LABEL, f"has {count} keypoints, but the file declares {wanted}")
        return replace(row, points=(*row.points, *(0.0,) * (_NUMBERS_A_KEYPOINT * (wanted - count)))) if count < wanted else row

    def file_of(self, labels: str) -> str:
        """See :meth:`LabelledSource.file_of`; an image's id may be a text, and hold a ``#`` too."""
        return next((file for file in self.files if labels.startswith(f"{file}#")), "")

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`: in the order of the categories' ids, those without labels too."""
        return self._categories.names()

    def final_class_ids(self) -> list[int]:
        """See :meth:`LabelledSource.final_class_ids`."""
        return self._categories.final_ids()
