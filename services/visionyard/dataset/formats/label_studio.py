"""Reads what Label Studio exports as JSON: lists of annotated tasks, JSON-MIN, JSON Lines, and folders with a task a file.

The format: https://labelstud.io/guide/export#Label-Studio-JSON-format-of-annotated-tasks. Which files they are: :mod:`.label_studio_files`; what a task means:
:mod:`.label_studio_tasks`; what a region means: :mod:`.label_studio_regions`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.label_studio_config import LabelConfig
from visionyard.dataset.formats.label_studio_files import TaskFile, files_at, find_config, find_files, read_values
from visionyard.dataset.formats.label_studio_reading import Reading
from visionyard.dataset.formats.label_studio_tasks import Task, task_of
from visionyard.dataset.formats.labelled import LabelledSource
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.shapes import LabelRow, Shape
from visionyard.dataset.formats.staged import LabelSpool
from visionyard.dataset.source import SourceTree
from visionyard.kit.artifacts.dataset import KeypointLayout

_DIMENSIONS = 3
"""Of a keypoint: x, y, visibility."""
_MOST_JOINED = 1000
"""Of JSON-MIN, records of one task that follow each other."""


def find_label_studio(tree: SourceTree) -> list[Labelling]:
    """The Label Studio labellings of a source, told by the first tasks of each JSON file."""
    return [Labelling("labelstudio", shown, functools.partial(read_label_studio, tree, place)) for place, shown in find_files(tree)]


class LabelStudioSource(LabelledSource):
    """Tasks that were read. Build it with :func:`read_label_studio`.

    An image belongs to the set where a person has annotated its task, if only with nothing (it is background then), or where a model has predicted something in it that no
    person has looked at. Tasks that are still to be annotated or were skipped, and images in the same folders that no task names, are left out.
    """

    format = "labelstudio"
    left_out_because = (Code.NOT_ANNOTATED, "belongs to no task with an annotation that counts")

    def __init__(self, tree: SourceTree) -> None:
        super().__init__(tree.staging)
        self._staging = tree.staging
        self._spool = LabelSpool(tree.staging)
        self.classes = NamedClasses()

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """See :meth:`LabelledSource.rows`."""
        self._compare_size(labels, width, height)
        for row in self._spool.rows(labels, width, height):
            if row.shape is Shape.KEYPOINTS:
                yield row._replace(points=self._skeleton(row.points), dimensions=_DIMENSIONS)
            else:
                yield row

    def _skeleton(self, told: tuple[float, ...]) -> tuple[float, ...]:
        """All keypoints of a region: the told ones (position, x, y, visibility each) at their places, zeros for those that are not there."""
        points = [0.0] * (_DIMENSIONS * self.keypoints.count if self.keypoints else 0)
        for i in range(0, len(told), _DIMENSIONS + 1):
            at = _DIMENSIONS * int(told[i])
            points[at : at + _DIMENSIONS] = told[i + 1 : i + 1 + _DIMENSIONS]
        return tuple(points)

    def _compare_size(self, labels: str, width: int, height: int) -> None:
        file, _, number = labels.rpartition("#")
        row = self._staging.one("SELECT width, height, name FROM ls_images WHERE id = ?", (int(number),))
        if row and row[0] and width and (row[0], row[1]) != (width, height):
            said = f"{file} was written for a picture of {row[0]} x {row[1]} pixels, but {row[2]} has {width} x {height}"
            self.notes.add(Code.SIZE_MISMATCH, said, file)

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`: in the order of the labelling interface where it is there, the others alphabetically."""
        return self.classes.names()

    def final_class_ids(self) -> list[int]:
        """See :meth:`LabelledSource.final_class_ids`."""
        return self.classes.final_ids()


def read_label_studio(tree: SourceTree, place: str) -> LabelStudioSource:
    """Reads a labelling.

    Args:
        tree: The source.
        place: One of those that :func:`find_files` gave.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    source = LabelStudioSource(tree)
    reading: Reading | None = None
    config = LabelConfig()
    for file in files_at(tree, place):
        if reading is None:
            config = find_config(tree, file.path, source.notes)
            reading = Reading(tree, source, config)
        _read_file(tree, file, source, reading)
    if reading is None:
        return source
    source.classes = reading.finish()
    names = reading.keypoint_names()
    source.keypoints = KeypointLayout(len(names), _DIMENSIONS, names) if names else None
    source.reason = (
        f"{reading.task_count} tasks of Label Studio were found, and {source.images.labelled()} of the {len(source.images)} images "
        "that were annotated have labels"
    )
    return source


def _read_file(tree: SourceTree, file: TaskFile, source: LabelStudioSource, reading: Reading) -> None:
    waiting: Task | None = None
    for where, value in read_values(tree, file, source.notes):
        tree.check()
        task = task_of(value)
        if task is None:
            source.notes.add(Code.MALFORMED_ANNOTATION, f"{file.path}: {where} is no task of Label Studio", file.path)
        elif waiting and task.id and waiting.id == task.id and waiting.data == task.data and len(waiting.annotations) < _MOST_JOINED:
            waiting.annotations += task.annotations  # JSON-MIN has a record an annotation
        else:
            if waiting:
                reading.take(waiting, file)
            waiting = task
    if waiting:
        reading.take(waiting, file)
