"""Copies a version's images into another project: what publishing to the shared project is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from visionyard.dataset.curation.loading import held_image
from visionyard.dataset.held import HeldImages
from visionyard.dataset.shards import Place
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import ManifestRow, batched

_ROWS_AT_ONCE = 1024

ReadImages = Callable[[Iterable[ManifestRow]], Iterator[tuple[ManifestRow, bytes]]]
"""Reads image files; see :func:`visionyard.kit.artifacts.dataset.read_images`."""


class Known(Protocol):
    """The images that the target project holds already."""

    def find(self, sha256: str) -> Place | None:
        """Where an image lies, or None."""
        ...


class Writer(Protocol):
    """Takes the bytes of the others."""

    def add(self, sha256: str, suffix: str, data: bytes) -> Place:
        """Takes an image; says where it will lie."""
        ...

    def close(self) -> None:
        """There are no more."""
        ...


def copy_images(
    held: HeldImages,
    version: DatasetVersion,
    rows: Iterable[ManifestRow],
    read: ReadImages,
    known: Known,
    writer: Writer,
    progress: Callable[[int], None],
) -> None:
    """Takes all images of a version, with names, splits and labels; bytes that the target does not hold are written there, each once.

    Args:
        held: Where the images go.
        version: Whose they are.
        rows: Its rows.
        read: Reads images.
        known: What the target holds.
        writer: Writes for the target.
        progress: Called with the number of images done; raises where the work is to stop.
    """
    done = 0
    for batch in batched(rows, _ROWS_AT_ONCE):
        places: dict[str, Place] = {}
        missing: dict[str, ManifestRow] = {}
        for row in batch:
            place = held.place_of(row.sha256) or known.find(row.sha256)
            if place is None:
                missing[row.sha256] = row
            else:
                places[row.sha256] = place
        for row, data in read(missing.values()):
            progress(done)
            places[row.sha256] = writer.add(row.sha256, row.name.rpartition(".")[2].lower(), data)
        for row in batch:
            image = held_image(version, row)
            image.place = places[row.sha256]
            held.add(image)
        done += len(batch)
        progress(done)
    writer.close()
