"""Reads datasets, their versions, reports and files. All calls block; the servicer runs them in threads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from visionyard.dataset.curation.diffing import Diff, diff
from visionyard.dataset.downloads import Download, download
from visionyard.dataset.import_spec import ImportSpec
from visionyard.dataset.pages.preview import PreviewRequest, preview
from visionyard.dataset.pages.report_page import render_report
from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import (
    DatasetVersion,
    iterate_manifest,
    list_dataset_versions,
    newest_dataset_version,
    read_dataset_version,
)
from visionyard.kit.artifacts.manifest import ManifestRow
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import NotFound, ObjectStore
from visionyard.kit.pagination import paginate


@dataclass(frozen=True)
class DatasetView:
    """A dataset: its newest version, and when its first was made."""

    name: ResourceName
    latest: DatasetVersion
    create_time: datetime


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
        found = list(list_dataset_versions(self._store, dataset, before, page.size + 1))
        if not found and before is None:
            read_dataset_version(self._store, VersionName(dataset, None))  # says that there is none
        shown = found[: page.size]
        return shown, page.next_token(str(shown[-1].name.number)) if len(found) > page.size else ""

    def resolved(self, spec: ImportSpec) -> ImportSpec:
        """The specification with the numbers of the versions that it names, so that what is done does not depend on when.

        Raises:
            YardError: DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND, also of a dataset that is to be appended to.
        """
        if spec.append:
            self.get_version(VersionName(spec.dataset, None))
        if spec.derivation is None:
            return spec
        sources = tuple(self.get_version(name).name for name in spec.derivation.sources)
        return replace(spec, derivation=replace(spec.derivation, sources=sources))

    def diff(self, name: VersionName, other: VersionName) -> tuple[DatasetVersion, DatasetVersion, Diff]:
        """What differs between two versions.

        Raises:
            YardError: DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND, ARTIFACT_CORRUPT.
        """
        one, two = self.get_version(name), self.get_version(other)
        return one, two, diff(one, two, iterate_manifest(self._store, one), iterate_manifest(self._store, two))

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

    def page(self, version: DatasetVersion) -> bytes:
        """The report of a version as an HTML page; see :func:`visionyard.dataset.pages.report_page.render_report`."""
        return render_report(self._store, version, self.report(version))

    def preview(self, version: DatasetVersion, request: PreviewRequest) -> Iterator[tuple[ManifestRow, bytes]]:
        """Images of a version with thumbnails; see :func:`visionyard.dataset.pages.preview.preview`."""
        return preview(self._store, version, request)

    def download(self, version: DatasetVersion, layout: str, after_path: str, uncertain: int) -> Download:
        """A version's files; see :func:`visionyard.dataset.downloads.download`."""
        return download(self._store, version, layout, after_path, uncertain)
