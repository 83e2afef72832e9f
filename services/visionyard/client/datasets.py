"""Datasets and their versions: read, list, report, download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visionyard.client.dataset_download import DatasetDownload, Downloaded, OnDownload
from visionyard.client.jobs import PAGE, all_pages
from visionyard.client.references import References
from visionyard.client.sync import Blocking, Facade
from visionyard.client.transport import Transport
from visionyard.dataset.v1 import dataset_pb2, dataset_service_pb2
from visionyard.dataset.v1.dataset_service_pb2_grpc import DatasetServiceStub

_COLLECTION = "datasets"


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


class Datasets(Facade[AsyncDatasets]):
    """The datasets of a project."""

    get = Blocking(AsyncDatasets.get)
    list = Blocking(AsyncDatasets.list)
    get_version = Blocking(AsyncDatasets.get_version)
    list_versions = Blocking(AsyncDatasets.list_versions)
    report = Blocking(AsyncDatasets.report)
    diff = Blocking(AsyncDatasets.diff)
    download = Blocking(AsyncDatasets.download)
