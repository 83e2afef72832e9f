"""Which real images an artifact is compared on: a dataset version's validation split, or the two pictures that Ultralytics brings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionyard.kit.artifacts import dataset
from visionyard.kit.artifacts.model import ModelVersion
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import VersionName
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.vision.decode import decode_image

_log = logging.getLogger(__name__)
MAX_IMAGES = 32
"""Enough to meet every layer with real pixels many times over; more would only take longer."""
_SPLITS = ("val", "test", "train")


@dataclass(frozen=True)
class Picture:
    """An image to compare on.

    Attributes:
        name: Its name in the dataset, or its file name.
        pixels: UINT8 [height, width, 3], RGB.
    """

    name: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class PictureSource:
    """Where the images come from.

    Attributes:
        described: In words, for people: "validation split of projects/...".
        pictures: Reads and decodes them, one at a time, so that memory stays flat.
        count: How many there are, at most; those that cannot be decoded are left out.
    """

    described: str
    pictures: Callable[[], Iterator[Picture]]
    count: int


def choose_pictures(store: ObjectStore, model: ModelVersion, asked: str) -> PictureSource:
    """Decides what a model is compared on.

    Args:
        store: The bucket.
        model: The model; the dataset version that it was trained on comes second.
        asked: A dataset version's name that comes first; empty for none.

    Raises:
        YardError: DATASET_NOT_FOUND or DATASET_VERSION_NOT_FOUND for one that was asked for and is gone.
    """
    if asked:
        chosen = _from_dataset(store, asked)
        if chosen is not None:
            return chosen
    elif model.dataset_version:
        try:
            chosen = _from_dataset(store, model.dataset_version)
        except YardError as error:
            if error.reason not in {Reason.DATASET_NOT_FOUND, Reason.DATASET_VERSION_NOT_FOUND}:
                raise
            _log.warning("%s, on which the model was trained, is gone; comparing on ultralytics' assets instead", model.dataset_version)
        else:
            if chosen is not None:
                return chosen
    return _from_assets()


def _from_dataset(store: ObjectStore, name: str) -> PictureSource | None:
    """The validation images, else the test images, else the training images; None where no image of them can be decoded."""
    version = dataset.read_dataset_version(store, VersionName.parse(name, "datasets"))
    rows = dataset.read_manifest(store, version)
    for split in _SPLITS:
        chosen = _spread([row for row in rows if row.split == split])
        if chosen and next(_decoded(store, chosen, version), None) is not None:
            words = {"val": "validation", "test": "test", "train": "training"}[split]
            return PictureSource(f"{words} split of {version.name}", partial(_decoded, store, chosen, version), len(chosen))
    return None


def _spread(rows: Sequence[dataset.ManifestRow]) -> list[dataset.ManifestRow]:
    """At most MAX_IMAGES of the rows, evenly over them, because neighbours (frames of a video) look alike."""
    step = max(len(rows) / MAX_IMAGES, 1.0)
    return [rows[int(position * step)] for position in range(min(len(rows), MAX_IMAGES))]


def _decoded(store: ObjectStore, rows: Sequence[dataset.ManifestRow], version: dataset.DatasetVersion) -> Iterator[Picture]:
    for row, data in dataset.read_images(store, rows, version):
        try:
            yield Picture(row.name, decode_image(data))
        except YardError as error:  # formats other than JPEG and PNG, and what is too large: trained on, but not served
            _log.info("%s is not compared: %s", row.name, error)


def _from_assets() -> PictureSource:
    """The two pictures inside of the installed ultralytics package."""
    spec = find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise YardError(Reason.EXPORT_FAILED, "ultralytics is not installed, so there are no pictures to compare on", {"step": "comparing"})
    files = sorted((Path(spec.origin).parent / "assets").glob("*.jpg"))
    if not files:
        raise YardError(
            Reason.EXPORT_FAILED, "ultralytics has no pictures in its assets: name a dataset with --data", {"step": "comparing"}
        )

    def pictures() -> Iterator[Picture]:
        for file in files:
            yield Picture(file.name, decode_image(file.read_bytes()))

    return PictureSource("ultralytics assets", pictures, len(files))
