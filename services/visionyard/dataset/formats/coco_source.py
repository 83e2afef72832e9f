"""A COCO labelling as it was read: rows on demand, from the staging database."""

from __future__ import annotations

from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.coco_categories import CocoCategories
from visionyard.dataset.formats.labelled import LabelledSource
from visionyard.dataset.formats.shapes import LabelRow, Shape
from visionyard.dataset.formats.staged import LabelSpool
from visionyard.dataset.source import SourceTree

_NUMBERS_A_KEYPOINT = 3


class CocoSource(LabelledSource):
    """A COCO source. Build it with :func:`.coco.read_coco`.

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
        size = self.size_of_labels(f"{name!r} was labelled as", self.file_of(labels), (wide, high), (width, height))
        for row in self._spool.rows(labels, *size):
            yield self._checked(row, name)

    def _checked(self, row: LabelRow, name: str) -> LabelRow:
        """The row, with what is known only when the whole file has been read."""
        if row.problem is None and self._unknown and row.class_id in self._unknown:
            written = self._unknown[row.class_id]
            row = LabelRow(row.line, Code.UNKNOWN_CLASS, f"has the category {written!r}, which the file does not declare")
        if row.problem is None and row.shape is Shape.KEYPOINTS:
            row = self._with_all_keypoints(row)
        return row._replace(message=f"{row.message} (image {name!r})") if row.problem is not None and name else row

    def _with_all_keypoints(self, row: LabelRow) -> LabelRow:
        """A category may have fewer keypoints than another; the rest is not there."""
        layout = self._categories.keypoints() if self.keypoints is None else self.keypoints
        count, wanted = len(row.points) // _NUMBERS_A_KEYPOINT, layout.count if layout else 0
        if count > wanted:
            return LabelRow(row.line, Code.MALFORMED_LABEL, f"has {count} keypoints, but the file declares {wanted}")
        return row._replace(points=(*row.points, *(0.0,) * (_NUMBERS_A_KEYPOINT * (wanted - count)))) if count < wanted else row

    def file_of(self, labels: str) -> str:
        """See :meth:`LabelledSource.file_of`; an image's id may be a text, and hold a ``#`` too."""
        return next((file for file in self.files if labels.startswith(f"{file}#")), "")

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`: in the order of the categories' ids, those without labels too."""
        return self._categories.names()

    def final_class_ids(self) -> list[int]:
        """See :meth:`LabelledSource.final_class_ids`."""
        return self._categories.final_ids()
