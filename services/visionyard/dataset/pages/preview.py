"""Which images of a version a preview shows."""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from visionyard.dataset.layouts.layout import Rows
from visionyard.dataset.pages.thumbnails import thumbnails
from visionyard.kit.artifacts.dataset import DatasetVersion, manifest_reader
from visionyard.kit.artifacts.manifest import SPLITS, ManifestRow
from visionyard.kit.errors import invalid_field
from visionyard.kit.objectstore.port import ObjectStore


@dataclass(frozen=True)
class PreviewRequest:
    """What is to be seen.

    Attributes:
        split: Only images of this split; empty for all.
        class_name: Only images with a label of this class; empty for all.
        count: At most so many images.
        side: The longer side of a thumbnail, in pixels.
        seed: Draw the images by it; None: the first in order.
        after: Without a seed: begin behind this image, ``{split}/{name}``; empty for the first.
    """

    split: str = ""
    class_name: str = ""
    count: int = 100
    side: int = 256
    seed: int | None = None
    after: str = ""


def preview(store: ObjectStore, version: DatasetVersion, request: PreviewRequest) -> Iterator[tuple[ManifestRow, bytes]]:
    """Images with a thumbnail each, in the order of split and name, or of the draw. Blocks.

    Raises:
        YardError: INVALID_FIELD, the version has no such split or class; ARTIFACT_CORRUPT.
    """
    if request.split and version.split(request.split) is None:
        raise invalid_field(
            "split", f"{request.split[:40]!r} is no split of {version.name}: it has {', '.join(s.name for s in version.splits)}"
        )
    class_ids = {found.id for found in version.classes if found.name == request.class_name}
    if request.class_name and not class_ids:
        raise invalid_field("class_name", f"{request.class_name[:80]!r} is no class of {version.name}")
    return thumbnails(store, version, _chosen(manifest_reader(store, version), request, class_ids), request.side)


def _chosen(rows: Rows, request: PreviewRequest, class_ids: set[int]) -> Iterator[ManifestRow]:
    fitting = (
        row
        for row in rows()
        if request.split in {"", row.split} and (not class_ids or any(label.class_id in class_ids for label in row.labels))
    )
    if request.seed is not None:
        return iter(heapq.nsmallest(request.count, fitting, key=lambda row: _drawn(row, request.seed or 0)))
    behind = (row for row in fitting if not request.after or _place(f"{row.split}/{row.name}") > _place(request.after))
    return itertools.islice(behind, request.count)


def _place(image: str) -> tuple[int, str]:
    split, _, name = image.partition("/")
    return (SPLITS.index(split) if split in SPLITS else -1), name


def _drawn(row: ManifestRow, seed: int) -> bytes:
    """A number that the seed and the image's content decide, the same on any machine; ties end by name."""
    return hashlib.sha256(f"{seed} {row.sha256} {row.split}/{row.name}".encode()).digest()
