"""How many boxes of which class lie in which group of images, without the zeros: LVIS has 1,203 classes and 160,000 images, but four classes an image."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class GroupCounts:
    """A sparse table: a row a group of alike images, a column a class, and a last column for the group's images. Takes 16 bytes an entry.

    Attributes:
        starts: INT64 [groups + 1]: the entries of group g are those from ``starts[g]`` to ``starts[g + 1]``.
        columns: INT64 [entries]: the class of each, in rising order within a group; ``classes`` for the group's images.
        numbers: INT64 [entries]: how many boxes, or images, above 0.
        classes: How many classes there are.
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    numbers: NDArray[np.int64]
    classes: int

    @classmethod
    def count(cls, groups: NDArray[np.int64], classes: Iterable[NDArray[np.int64]]) -> Self:
        """Counts images and their boxes.

        Args:
            groups: INT64 [images]: each image's group; none from 0 to the highest is without an image.
            classes: For each image INT64 [labels], the class of each label. Only the classes that come up get a column, in the order of their ids.
        """
        numbers_of, ids = array("q"), array("q")
        for found in classes:
            numbers_of.append(len(found))
            ids.frombytes(found.tobytes())
        present, column = np.unique(np.frombuffer(ids, dtype=np.int64), return_inverse=True)
        width = len(present) + 1
        boxes = np.repeat(groups, np.frombuffer(numbers_of, dtype=np.int64)) * width + column
        cells, numbers = np.unique(np.concatenate([boxes, groups * width + width - 1]), return_counts=True)
        starts = np.searchsorted(cells, np.arange(groups.max() + 2) * width) if len(groups) else np.zeros(1)
        return cls(starts.astype(np.int64), cells % width, numbers.astype(np.int64), len(present))

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self.starts) - 1

    def totals(self) -> NDArray[np.int64]:
        """INT64 [classes + 1]: the boxes of each class, and all images."""
        return np.bincount(self.columns, self.numbers, self.classes + 1).astype(np.int64)

    def entries(self, group: int) -> slice:
        """Where a group's entries stand."""
        return slice(int(self.starts[group]), int(self.starts[group + 1]))

    def group_of_entries(self) -> NDArray[np.int64]:
        """INT64 [entries]: the group of each."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def take(self, groups: NDArray[np.int64]) -> GroupCounts:
        """The table of these groups, in this order."""
        lengths = np.diff(self.starts)[groups]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        at = np.repeat(self.starts[:-1][groups] - starts[:-1], lengths) + np.arange(starts[-1])
        return GroupCounts(starts, self.columns[at], self.numbers[at], self.classes)

    def by_column(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The same entries column by column: ``starts`` INT64 [classes + 2], then each entry's group (rising within a column) and number."""
        order = np.argsort(self.columns, kind="stable")
        starts = np.searchsorted(self.columns[order], np.arange(self.classes + 2))
        return starts.astype(np.int64), self.group_of_entries()[order], self.numbers[order]
