"""Datasets and their versions: read, list, report, preview, download, delete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visionyard.client.dataset_download import DatasetDownload, Downloaded, OnDownload
from visionyard.client.downloads import write_whole
from visionyard.client.errors import ClientError
from visionyard.client.jobs import PAGE, all_pages
from visionyard.client.references import References
from visionyard.client.sync import Blocking, Facade
from visionyard.client.transport import Transport
from visionyard.dataset.v1 import dataset_pb2, dataset_service_pb2
from visionyard.dataset.v1.dataset_service_pb2_grpc import DatasetServiceStub
from visionyard.kit.errors import Code

_COLLECTION = "datasets"
_DELETE_TIMEOUT_S = 120.0
"""It looks for everything that still uses the dataset."""


class AsyncDatasets:
    """The datasets of a project.

    Args:
        transport: The channels.
        names: Names in the project.
    """

    def __init__(self, transport: Transport, names: References) -> None:
        self._transport = transport
        self._names = names

    async def get(self, dataset: str) -> dataset_pb2.Dataset:
        """Reads a dataset.

        Args:
            dataset: Its id or resource name.

        Raises:
            ClientError: NOT_FOUND (DATASET_NOT_FOUND).
        """
        request = dataset_service_pb2.GetDatasetRequest(name=self._names.resource(_COLLECTION, dataset))
        response = await self._transport.unary("dataset", lambda channel: DatasetServiceStub(channel).GetDataset, request)
        return response.dataset

    async def list(self, where: str = "") -> list[dataset_pb2.Dataset]:
        """All datasets, by name.

        Args:
            where: Only those, as ``latest_version.image_count >= 1000``: a filter of https://google.aip.dev/160 on the dataset's fields.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD), ``where`` is no filter.
        """

        async def page(token: str) -> dataset_service_pb2.ListDatasetsResponse:
            request = dataset_service_pb2.ListDatasetsRequest(parent=self._names.parent, page_size=PAGE, page_token=token, filter=where)
            return await self._transport.unary("dataset", lambda channel: DatasetServiceStub(channel).ListDatasets, request)

        return await all_pages(page, "datasets")

    async def get_version(self, version: str) -> dataset_pb2.DatasetVersion:
        """Reads a version.

        Args:
            version: ``NAME``, ``NAME@V`` or a resource name; without a number the newest.

        Raises:
            ClientError: NOT_FOUND (DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND).
        """
        request = dataset_service_pb2.GetDatasetVersionRequest(name=self._names.version(_COLLECTION, version))
        response = await self._transport.unary("dataset", lambda channel: DatasetServiceStub(channel).GetDatasetVersion, request)
        return response.dataset_version

    async def list_versions(self, dataset: str, where: str = "") -> Sequence[dataset_pb2.DatasetVersion]:
        """All versions of a dataset, newest first.

        Args:
            dataset: Its id or resource name.
            where: Only those, as ``classes.name:person``: a filter of https://google.aip.dev/160 on the version's fields.

        Raises:
            ClientError: NOT_FOUND (DATASET_NOT_FOUND), INVALID_ARGUMENT (INVALID_FIELD), ``where`` is no filter.
        """
        parent = self._names.resource(_COLLECTION, dataset)

        async def page(token: str) -> dataset_service_pb2.ListDatasetVersionsResponse:
            request = dataset_service_pb2.ListDatasetVersionsRequest(parent=parent, page_size=PAGE, page_token=token, filter=where)
            return await self._transport.unary("dataset", lambda channel: DatasetServiceStub(channel).ListDatasetVersions, request)

        return await all_pages(page, "dataset_versions")

    async def report(self, version: str) -> dataset_pb2.ImportReport:
        """What the import that made a version found.

        Args:
            version: As for :meth:`get_version`.

        Raises:
            ClientError: NOT_FOUND (DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND).
        """
        request = dataset_service_pb2.GetImportReportRequest(name=self._names.version(_COLLECTION, version))
        response = await self._transport.unary("dataset", lambda channel: DatasetServiceStub(channel).GetImportReport, request)
        return response.report

    async def report_page(self, version: str, to: Path | str) -> Path:
        """The same and what the version holds, as an HTML file with pictures that needs nothing from outside.

        Args:
            version: As for :meth:`get_version`.
            to: The file; it is replaced where it is there, once the new one is whole.

        Returns:
            The file's path.

        Raises:
            ClientError: NOT_FOUND (DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND).
        """
        request = dataset_service_pb2.RenderImportReportRequest(name=self._names.version(_COLLECTION, version))
        parts = await self._transport.whole("dataset", lambda channel: DatasetServiceStub(channel).RenderImportReport, request)
        return await write_whole(Path(to), [response.data for response in parts])

    async def preview(
        self, version: str, *, split: str = "", class_name: str = "", count: int = 0, side_px: int = 0, seed: int | None = None
    ) -> Sequence[dataset_service_pb2.ImagePreview]:
        """Images of a version as thumbnails with their labels drawn.

        Args:
            version: As for :meth:`get_version`.
            split: Only of this split; empty for all.
            class_name: Only with a label of this class; empty for all.
            count: At most so many, up to 1000; 0 for 100.
            side_px: The longer side of a thumbnail, 32 to 1024; 0 for 256.
            seed: Draw the images by it; None: the first in the order of split and name.

        Raises:
            ClientError: NOT_FOUND (DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND), INVALID_ARGUMENT (INVALID_FIELD).
        """
        request = dataset_service_pb2.PreviewDatasetVersionRequest(
            name=self._names.version(_COLLECTION, version),
            split=split,
            class_name=class_name,
            image_count=count,
            thumbnail_side_px=side_px,
            seed=seed,
        )
        found = await self._transport.whole("dataset", lambda channel: DatasetServiceStub(channel).PreviewDatasetVersion, request)
        return [response.image for response in found]

    async def diff(self, version: str, other: str) -> dataset_service_pb2.DatasetDiff:
        """What differs between two versions.

        Args:
            version: As for :meth:`get_version`.
            other: Likewise.

        Raises:
            ClientError: NOT_FOUND (DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND).
        """
        request = dataset_service_pb2.DiffDatasetVersionsRequest(
            name=self._names.version(_COLLECTION, version), other=self._names.version(_COLLECTION, other)
        )
        response = await self._transport.unary("dataset", lambda channel: DatasetServiceStub(channel).DiffDatasetVersions, request)
        return response.diff

    async def download(
        self, version: str, to: Path | str, on_progress: OnDownload | None = None, *, layout: str = "yolo", uncertain: int = 0
    ) -> Downloaded:
        """Downloads a version in one of its layouts. Goes on where an earlier call stopped.

        Args:
            version: As for :meth:`get_version`.
            to: The folder; made where it is not there.
            on_progress: Called with the file at hand, bytes done and bytes in all.
            layout: ``yolo`` (the folder that Ultralytics reads), ``coco``, ``voc``, ``labelstudio`` or ``cvat``.
            uncertain: Only so many images, those whose predicted labels are least certain; 0 for all.

        Raises:
            ClientError: NOT_FOUND (DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND), INVALID_ARGUMENT (INVALID_NAME, INVALID_FIELD), FAILED_PRECONDITION (UNSUPPORTED_TASK).
        """
        found = await self.get_version(version)
        return await DatasetDownload(self._transport, found, Path(to), on_progress, layout, uncertain).run()

    async def delete(self, dataset: str, *, dry_run: bool = False) -> dataset_service_pb2.DatasetDeletion:
        """Deletes a dataset with all its versions; its bytes stay until a collection.

        Args:
            dataset: Its id or resource name.
            dry_run: Only find out what would go.

        Raises:
            ClientError: NOT_FOUND (DATASET_NOT_FOUND), FAILED_PRECONDITION (DATASET_IN_USE), PERMISSION_DENIED (SHARED_READ_ONLY).
        """
        request = dataset_service_pb2.DeleteDatasetRequest(name=self._names.resource(_COLLECTION, dataset), validate_only=dry_run)
        try:
            response = await self._transport.unary(
                "dataset", lambda channel: DatasetServiceStub(channel).DeleteDataset, request, timeout_s=_DELETE_TIMEOUT_S
            )
        except ClientError as error:
            return _gone_already(error, [])
        return response.deletion

    async def delete_version(self, version: str, *, dry_run: bool = False) -> dataset_service_pb2.DatasetDeletion:
        """Deletes one version; its number is never given to another, and its bytes stay until a collection.

        Args:
            version: ``NAME@V`` or a resource name; the number must be given.
            dry_run: Only find out what would go.

        Raises:
            ClientError: NOT_FOUND (DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND), FAILED_PRECONDITION (DATASET_IN_USE),
                PERMISSION_DENIED (SHARED_READ_ONLY).
        """
        name = self._names.version(_COLLECTION, version)
        request = dataset_service_pb2.DeleteDatasetVersionRequest(name=name, validate_only=dry_run)
        try:
            response = await self._transport.unary(
                "dataset", lambda channel: DatasetServiceStub(channel).DeleteDatasetVersion, request, timeout_s=_DELETE_TIMEOUT_S
            )
        except ClientError as error:
            return _gone_already(error, [name])
        return response.deletion


def _gone_already(error: ClientError, versions: Sequence[str]) -> dataset_service_pb2.DatasetDeletion:
    """What a repeated call whose first answer got lost found: what it wanted gone is gone. Raises any other error."""
    if error.code is not Code.NOT_FOUND or error.attempts == 1:
        raise error
    return dataset_service_pb2.DatasetDeletion(versions=versions)


class Datasets(Facade[AsyncDatasets]):
    """The datasets of a project."""

    get = Blocking(AsyncDatasets.get)
    list = Blocking(AsyncDatasets.list)
    get_version = Blocking(AsyncDatasets.get_version)
    list_versions = Blocking(AsyncDatasets.list_versions)
    report = Blocking(AsyncDatasets.report)
    report_page = Blocking(AsyncDatasets.report_page)
    preview = Blocking(AsyncDatasets.preview)
    diff = Blocking(AsyncDatasets.diff)
    download = Blocking(AsyncDatasets.download)
    delete = Blocking(AsyncDatasets.delete)
    delete_version = Blocking(AsyncDatasets.delete_version)
