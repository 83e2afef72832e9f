"""Counts what a set holds, image by image, for the judgements that are about numbers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from visionyard.dataset.doctor.twins import Twins
from visionyard.dataset.findings import Report
from visionyard.dataset.finishing import Content
from visionyard.dataset.held import HeldImages, Measured
from visionyard.kit.artifacts.manifest import SPLITS

TRAINING_SIZE_PX = 640
"""The size that a picture's longer side is scaled to for training, Ultralytics' default ``imgsz``."""
TINY_PX = 8
"""An object whose shorter side is below that at the training size falls within one cell of the finest grid (stride 8) that Ultralytics' detectors predict on."""
BINS_AN_OCTAVE = 3
BINS = 28
"""Box sizes from 1 to 640 pixels, three bins for each doubling: bin b begins at 2 ** (b / 3) pixels."""
WHOLE = 0.95
"""A box as wide and as high as that, as a share of the picture, covers nearly all of it."""
_BATCH = 512
_NAMED_FILES = 3


@dataclass
class Survey:
    """What was counted.

    Attributes:
        task: What the labels are for.
        class_names: By id.
        labels: INT64 [classes, splits]: the labels of each class in each split.
        tiny: INT64 [classes]: those of them that are tiny at the training size.
        images: INT64 [splits]: the images of each split.
        backgrounds: INT64 [splits]: how many images of each have no label.
        sizes: INT64 [bins, bins]: the boxes by width and height in pixels at the training size, each on a scale of three bins an octave; see :data:`BINS`.
        single_whole: How many images have one label only, which covers nearly the whole picture.
        tiny_files: The first few images with tiny objects.
        shortest: The smallest longer side of a picture in pixels, and that picture's path.
        longest: The largest longer side, likewise.
        channels: How many pictures are grey, coloured, CMYK, or have transparency.
    """

    task: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    tiny: NDArray[np.int64]
    images: NDArray[np.int64]
    backgrounds: NDArray[np.int64]
    sizes: NDArray[np.int64]
    single_whole: int = 0
    tiny_files: list[str] = field(default_factory=list)
    shortest: tuple[int, str] = (1 << 62, "")
    longest: tuple[int, str] = (0, "")
    channels: Counter[str] = field(default_factory=Counter)

    @classmethod
    def empty(cls, task: str, class_names: tuple[str, ...]) -> Survey:
        """Nothing was counted yet."""
        classes, splits = len(class_names), len(SPLITS)

        def zeros(*shape: int) -> NDArray[np.int64]:
            return np.zeros(shape, dtype=np.int64)

        return cls(task, class_names, zeros(classes, splits), zeros(classes), zeros(splits), zeros(splits), zeros(BINS, BINS))

    @property
    def per_class(self) -> NDArray[np.int64]:
        """INT64 [classes]: the labels of each."""
        return np.asarray(self.labels.sum(axis=1), dtype=np.int64)

    def class_counts(self) -> list[dict[str, str | int]]:
        """What the report tells of each class."""
        return [
            {
                "name": name,
                **{f"{split}_label_count": int(self.labels[at, i]) for i, split in enumerate(SPLITS)},
                "tiny_label_count": int(self.tiny[at]),
            }
            for at, name in enumerate(self.class_names)
        ]

    def add(self, batch: list[Measured]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Counts images; returns their boxes in pixels, FLOAT64 [labels, 5] (class, centre, size), and INT64 [labels], whose they are in the batch."""
        numbers = np.array([len(image.boxes) for image in batch], dtype=np.int64)
        splits = np.array([SPLITS.index(image.split) for image in batch], dtype=np.int64)
        sizes = np.array([(image.width, image.height) for image in batch], dtype=np.float64)
        boxes = np.concatenate([image.boxes for image in batch])
        owner = np.repeat(np.arange(len(batch)), numbers)
        classes = boxes[:, 0].astype(np.int64)
        np.add.at(self.labels, (classes, splits[owner]), 1)
        self.images += np.bincount(splits, minlength=len(SPLITS))
        self.backgrounds += np.bincount(splits[numbers == 0], minlength=len(SPLITS))
        covering = (boxes[:, 3:] >= WHOLE).all(axis=1)
        self.single_whole += int((covering & (numbers[owner] == 1)).sum())
        pixels = boxes[:, 1:] * np.tile(sizes[owner], 2)
        if self.task != "classify":
            scale = TRAINING_SIZE_PX / sizes.max(axis=1)
            trained = pixels[:, 2:] * scale[owner, None]
            bins = np.clip(np.log2(np.maximum(trained, 1)) * BINS_AN_OCTAVE, 0, BINS - 1).astype(np.int64)
            np.add.at(self.sizes, (bins[:, 0], bins[:, 1]), 1)
            tiny = trained.min(axis=1) < TINY_PX
            self.tiny += np.bincount(classes[tiny], minlength=len(self.tiny))
            self.tiny_files += [batch[at].path for at in np.unique(owner[tiny])[: _NAMED_FILES - len(self.tiny_files)]]
        self._add_pictures(batch, sizes.max(axis=1))
        return np.concatenate([boxes[:, :1], pixels], axis=1), owner

    def _add_pictures(self, batch: list[Measured], sides: NDArray[np.float64]) -> None:
        small, large = int(sides.argmin()), int(sides.argmax())
        self.shortest = min(self.shortest, (int(sides[small]), batch[small].path))
        self.longest = max(self.longest, (int(sides[large]), batch[large].path), key=lambda found: found[0])
        self.channels.update(_kind(image) for image in batch if image.channels)


def _kind(image: Measured) -> str:
    return {1: "grey", 3: "colour"}.get(image.channels, "CMYK" if image.suffix == "jpg" else "transparent")


def survey(content: Content, report: Report, check: Callable[[], None]) -> Survey:
    """Reads all held images once.

    Args:
        content: The set.
        report: Gets NEARLY_SAME_BOXES, as labels are compared while they pass by.
        check: Called often; raises where the work is to stop.
    """
    found, twins = Survey.empty(content.task, content.class_names), Twins(report)
    for batch in _batches(content.images):
        check()
        boxes, owner = found.add(batch)
        if content.task in {"detect", "pose", "segment"}:  # two rotated boxes that cross have one upright box around them
            twins.look(boxes, owner, [image.path for image in batch], check)
    twins.conclude()
    return found


def _batches(images: HeldImages) -> Iterator[list[Measured]]:
    rows = images.measured()
    while batch := list(itertools.islice(rows, _BATCH)):
        yield batch
