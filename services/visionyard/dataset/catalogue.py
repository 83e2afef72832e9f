"""Reads datasets, their versions, reports and files. All calls block; the servicer runs them in threads."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import (
    DatasetVersion,
    list_dataset_versions,
    newest_dataset_version,
    read_dataset_version,
    read_images,
    read_manifest,
)
from visionyard.kit.artifacts.layout import data_yaml, image_path, label_path, label_text
from visionyard.kit.artifacts.manifest import ManifestRow
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import NotFound, ObjectStore
from visionyard.kit.pagination import paginate

_CHUNK_BYTES = 1 << 20
_RUN_IMAGES = 256
_RUN_BYTES = 64 << 20


@dataclass(frozen=True)
class DatasetView:
    """A dataset: its newest version, and when its first was made."""

    name: ResourceName
    latest: DatasetVersion
    create_time: datetime


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


class Catalogue:
    """Reads what the bucket holds of datasets.

    Args:
        store: The bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def get_dataset(self, name: ResourceName) -> DatasetView:
        """Reads a dataset.

        Raises:
            YardError: DATASET_NOT_FOUND.
        """
        return self._view(name, read_dataset_version(self._store, VersionName(name, None)))

    def _view(self, name: ResourceName, latest: DatasetVersion) -> DatasetView:
        first = versions.first(self._store, name)
        created = first.create_time if first else latest.create_time
        if created is None:
            raise RuntimeError("a stored version has a time")
        return DatasetView(name, latest, created)

    def list_datasets(self, project: str, page_size: int, page_token: str) -> tuple[list[DatasetView], str]:
        """A page of a project's datasets, by name, and the next page's token.

        Raises:
            YardError: INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        page = paginate(f"projects/{project}/datasets", page_size, page_token)
        found: list[DatasetView] = []
        for name in versions.list_parents(self._store, project, "datasets", page.after):
            latest = newest_dataset_version(self._store, name)
            if latest is None:
                continue  # an emptied folder
            if len(found) == page.size:
                return found, page.next_token(found[-1].name.id)
            found.append(self._view(name, latest))
        return found, ""

    def get_version(self, name: VersionName) -> DatasetVersion:
        """Reads a version.

        Raises:
            YardError: DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND.
        """
        return read_dataset_version(self._store, name)

    def list_versions(self, dataset: ResourceName, page_size: int, page_token: str) -> tuple[list[DatasetVersion], str]:
        """A page of a dataset's versions, newest first, and the next page's token.

        Raises:
            YardError: DATASET_NOT_FOUND, INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        page = paginate(f"{dataset}/versions", page_size, page_token)
        before = page.after_number
        if before is None:
            read_dataset_version(self._store, VersionName(dataset, None))
        found = list(itertools.islice(list_dataset_versions(self._store, dataset, before), page.size + 1))
        shown = found[: page.size]
        return shown, page.next_token(str(shown[-1].name.number)) if len(found) > page.size else ""

    def report(self, version: DatasetVersion) -> dict[str, Any]:
        """The report of the import that made a version, as :meth:`Report.to_json` wrote it.

        Raises:
            YardError: FILE_NOT_FOUND.
        """
        report = self.read_report(version.report_key)
        if report is None:
            raise YardError(
                Reason.FILE_NOT_FOUND,
                f"the report of {version.name} is missing in the bucket",
                {"name": str(version.name), "path": "report"},
            )
        return report

    def read_report(self, key: str) -> dict[str, Any] | None:
        """A report by its key; None where it is not there."""
        try:
            report: dict[str, Any] = json.loads(self._store.get(key).data)
        except NotFound:
            return None
        return report

    def download(self, version: DatasetVersion, after_path: str) -> Download:
        """A version's files: ``data.yaml``, then label and image of each row, byte for byte the same every time.

        Args:
            version: The version.
            after_path: Leave out the files up to and with this one; empty for all.

        Raises:
            YardError: FILE_NOT_FOUND, the version has no such file; ARTIFACT_CORRUPT.
        """
        rows = read_manifest(self._store, version)
        yaml = data_yaml(version, "").encode()
        sizes = sum(len(label_text(row)) for row in rows)
        begin = self._position(version, rows, after_path)
        return Download(1 + 2 * len(rows), len(yaml) + sizes + sum(row.length for row in rows), self._parts(version, rows, yaml, begin))

    def _position(self, version: DatasetVersion, rows: list[ManifestRow], after_path: str) -> int:
        """How many files are left out."""
        if not after_path:
            return 0
        if after_path == "data.yaml":
            return 1
        for i, row in enumerate(rows):
            if after_path == label_path(row):
                return 2 + 2 * i
            if after_path == image_path(row):
                return 3 + 2 * i
        raise YardError(
            Reason.FILE_NOT_FOUND, f"{version.name} has no file {after_path[:200]!r}", {"name": str(version.name), "path": after_path[:200]}
        )

    def _parts(self, version: DatasetVersion, rows: list[ManifestRow], yaml: bytes, begin: int) -> Iterator[FilePart]:
        if begin == 0:
            yield from _file("data.yaml", yaml)
        first = max(0, (begin - 1) // 2)
        only_image = begin > 0 and (begin - 1) % 2 == 1  # its label file was the last one received
        for number, run in enumerate(_runs(rows[first:])):
            # Images come shard by shard, files go out in the manifest's order; one run at a time keeps memory flat.
            images = self._images_in_order(version, run)
            for i, (row, image) in enumerate(images):
                if not (only_image and number == 0 and i == 0):
                    yield from _file(label_path(row), label_text(row).encode())
                yield from _file(image_path(row), image)

    def _images_in_order(self, version: DatasetVersion, run: list[ManifestRow]) -> Iterator[tuple[ManifestRow, bytes]]:
        early: dict[tuple[str, str], bytes] = {}
        arriving = read_images(self._store, run, version)
        for row in run:
            key = row.split, row.name
            while key not in early:
                other, data = next(arriving)
                early[other.split, other.name] = data
            yield row, early.pop(key)


def _runs(rows: list[ManifestRow]) -> Iterator[list[ManifestRow]]:
    """Neighbouring rows whose images may be held at once: at most 256, and 64 MiB unless one alone is larger."""
    run: list[ManifestRow] = []
    held = 0
    for row in rows:
        if run and (len(run) == _RUN_IMAGES or held + row.length > _RUN_BYTES):
            yield run
            run, held = [], 0
        run.append(row)
        held += row.length
    if run:
        yield run


def _file(path: str, data: bytes) -> Iterator[FilePart]:
    yield FilePart(path, len(data))
    for start in range(0, len(data), _CHUNK_BYTES):
        yield FilePart(data=data[start : start + _CHUNK_BYTES])
