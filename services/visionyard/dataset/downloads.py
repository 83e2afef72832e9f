"""A version's files in one of its layouts, piece by piece, byte for byte the same every time; a broken download goes on behind the last whole file."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from visionyard.dataset.layouts.layout import OutFile, Rows
from visionyard.dataset.layouts.registry import LAYOUTS
from visionyard.kit.artifacts.dataset import DatasetVersion, manifest_reader, read_images
from visionyard.kit.artifacts.manifest import ManifestRow
from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.objectstore.port import ObjectStore

_CHUNK_BYTES = 1 << 20
_RUN_FILES = 512
_RUN_BYTES = 64 << 20


@dataclass(frozen=True)
class FilePart:
    """A piece of a download: a file that begins (``path`` set), or the next bytes of the one that began last.

    Attributes:
        path: Of the file that begins; empty for bytes.
        size: Of the file that begins.
        data: The next bytes.
    """

    path: str = ""
    size: int = 0
    data: bytes = b""


@dataclass(frozen=True)
class Download:
    """A version's files in order.

    Attributes:
        file_count: All of its files, also those left out.
        total_bytes: The bytes of all its files.
        parts: The files' pieces.
    """

    file_count: int
    total_bytes: int
    parts: Iterator[FilePart]


def download(store: ObjectStore, version: DatasetVersion, layout: str = "yolo", after_path: str = "", uncertain: int = 0) -> Download:
    """Begins a download. Blocks, as does reading its parts.

    Args:
        store: The bucket.
        version: The version.
        layout: A key of :data:`LAYOUTS`.
        after_path: Leave out the files up to and with this one; empty for all.
        uncertain: Only so many images: those whose least certain predicted label is least certain; 0 for all.

    Raises:
        YardError: INVALID_FIELD, there is no such layout; FILE_NOT_FOUND, the layout has no file ``after_path``; UNSUPPORTED_TASK; ARTIFACT_CORRUPT.
    """
    if layout not in LAYOUTS:
        raise invalid_field("layout", f"{layout[:40]!r} is none of {', '.join(LAYOUTS)}")
    rows = manifest_reader(store, version)
    if uncertain:
        rows = _least_certain(version, rows, uncertain)
    count = total = 0
    begin = 0 if not after_path else -1
    for file in LAYOUTS[layout].files(version, rows):
        count += 1
        total += file.size
        if file.path == after_path:
            begin = count
    if begin < 0:
        shown = after_path[:200]
        raise YardError(Reason.FILE_NOT_FOUND, f"{version.name} has no file {shown!r}", {"name": str(version.name), "path": shown})
    return Download(count, total, _parts(store, version, LAYOUTS[layout].files(version, rows), begin))


def _least_certain(version: DatasetVersion, rows: Rows, count: int) -> Rows:
    def least(row: ManifestRow) -> float:
        return min(label.confidence for label in row.labels if label.confidence is not None)

    predicted = ((least(row), row.split, row.name) for row in rows() if any(label.confidence is not None for label in row.labels))
    chosen = {(split, name) for _, split, name in heapq.nsmallest(count, predicted)}
    if not chosen:
        raise YardError(
            Reason.NO_LABELS,
            f"{version.name} holds no predicted label that nobody has confirmed, so none is uncertain: append predictions first",
            {"name": str(version.name)},
        )
    return lambda: (row for row in rows() if (row.split, row.name) in chosen)


def _parts(store: ObjectStore, version: DatasetVersion, files: Iterator[OutFile], begin: int) -> Iterator[FilePart]:
    run: list[OutFile] = []
    held = 0
    for number, file in enumerate(files):
        if number < begin:
            continue
        if run and (len(run) == _RUN_FILES or held + file.size > _RUN_BYTES):
            yield from _send(store, version, run)
            run, held = [], 0
        run.append(file)
        held += file.size if file.row else 0
    yield from _send(store, version, run)


def _send(store: ObjectStore, version: DatasetVersion, run: list[OutFile]) -> Iterator[FilePart]:
    """Images come shard by shard, files go out in the layout's order; one run at a time keeps memory flat."""
    early: dict[tuple[str, str], bytes] = {}
    arriving = read_images(store, [file.row for file in run if file.row], version)
    for file in run:
        yield FilePart(file.path, file.size)
        if file.row is None:
            for piece in file.text() if file.text else ():
                yield from _chunks(piece)
            continue
        key = file.row.split, file.row.name
        while key not in early:
            other, data = next(arriving)
            early[other.split, other.name] = data
        yield from _chunks(early.pop(key))


def _chunks(data: bytes) -> Iterator[FilePart]:
    for start in range(0, len(data), _CHUNK_BYTES):
        yield FilePart(data=data[start : start + _CHUNK_BYTES])
