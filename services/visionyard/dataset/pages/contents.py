"""What the page of a report shows of a version: numbers over all of its rows, and the images to be pictured."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from visionyard.dataset.doctor.survey import Survey
from visionyard.dataset.held import Measured
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import ManifestRow, batched, row_order

_BATCH = 512
_CLASSES_SHOWN = 16


@dataclass(frozen=True)
class Contents:
    """What was gathered.

    Attributes:
        survey: The numbers.
        sheet: Images for the contact sheet, in the order of split and name: some of each of the most frequent classes, the others drawn.
        asked: The images that were asked for, by ``{split}/{name}``.
    """

    survey: Survey
    sheet: list[ManifestRow]
    asked: dict[str, ManifestRow]


def gather(version: DatasetVersion, rows: Iterable[ManifestRow], asked: Collection[str], sheet_size: int) -> Contents:
    """Reads a version's rows once.

    Args:
        version: The version.
        rows: Its rows.
        asked: Images to be found, ``{split}/{name}``.
        sheet_size: How many images the contact sheet has at most.
    """
    survey, wanted, found = Survey.empty(version.task, version.class_names), frozenset(asked), dict[str, ManifestRow]()
    frequent = heapq.nlargest(_CLASSES_SHOWN, version.classes, key=lambda entry: entry.label_count)
    best: dict[int, ManifestRow] = {}
    classes = {entry.id for entry in frequent if entry.label_count}

    def passing() -> Iterator[ManifestRow]:
        for batch in batched(rows, _BATCH):
            survey.add([_measured(row) for row in batch])
            for row in batch:
                name = f"{row.split}/{row.name}"
                if name in wanted:
                    found[name] = row
                for class_id in classes.intersection(label.class_id for label in row.labels):
                    if class_id not in best or row.sha256 < best[class_id].sha256:
                        best[class_id] = row
                yield row

    drawn = heapq.nsmallest(sheet_size, passing(), key=lambda row: (row.sha256, row.split, row.name))
    chosen = {(row.split, row.name): row for row in (*best.values(), *drawn)}
    return Contents(survey, sorted(list(chosen.values())[:sheet_size], key=row_order), found)


def _measured(row: ManifestRow) -> Measured:
    boxes = np.array([label[:5] for label in row.labels], dtype=np.float64).reshape(-1, 5)
    return Measured(f"{row.split}/{row.name}", row.split, row.width, row.height, 0, "", boxes)
