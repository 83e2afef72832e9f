"""The dataset service's RPCs: each translates its request, calls a use case in a thread, and translates the answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc.aio

from visionyard.dataset import mapping, storage_mapping
from visionyard.dataset.catalogue import Catalogue
from visionyard.dataset.deletion import Deletions
from visionyard.dataset.imports import Imports
from visionyard.dataset.metrics import Metrics
from visionyard.dataset.preview_mapping import preview_from_proto, preview_to_proto
from visionyard.dataset.v1 import (
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    import_job_pb2,
    import_job_service_pb2,
    import_job_service_pb2_grpc,
)
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.names import ProjectName, ResourceName, VersionName
from visionyard.kit.server.listing import list_page

Context = grpc.aio.ServicerContext[Any, Any]
_PARTS_AT_ONCE = 32
_CHUNK_BYTES = 1 << 20
_DRAWING_AT_ONCE = 2
"""Each holds a decoded picture, up to 192 MiB."""


def _job_name(name: str) -> ResourceName:
    return ResourceName.parse(name, JobKind.IMPORT.collection)


class DatasetServicer(dataset_service_pb2_grpc.DatasetServiceServicer):
    """``visionyard.dataset.v1.DatasetService``.

    Args:
        catalogue: The use cases of reading.
        deletions: Those of deleting.
        metrics: What is counted.
    """

    def __init__(self, catalogue: Catalogue, deletions: Deletions, metrics: Metrics) -> None:
        self._catalogue = catalogue
        self._deletions = deletions
        self._metrics = metrics
        self._drawing = asyncio.Semaphore(_DRAWING_AT_ONCE)

    async def GetDataset(self, request: dataset_service_pb2.GetDatasetRequest, _context: Context) -> dataset_service_pb2.GetDatasetResponse:
        """Reads a dataset."""
        view = await asyncio.to_thread(self._catalogue.get_dataset, ResourceName.parse(request.name, "datasets"))
        return dataset_service_pb2.GetDatasetResponse(dataset=mapping.dataset_to_proto(view))

    async def ListDatasets(
        self, request: dataset_service_pb2.ListDatasetsRequest, _context: Context
    ) -> dataset_service_pb2.ListDatasetsResponse:
        """Reads a page of datasets."""
        read = partial(self._catalogue.list_datasets, ProjectName.parse(request.parent).project)
        datasets, token = await list_page(request, dataset_pb2.Dataset, read, mapping.dataset_to_proto)
        return dataset_service_pb2.ListDatasetsResponse(datasets=datasets, next_page_token=token)

    async def GetDatasetVersion(
        self, request: dataset_service_pb2.GetDatasetVersionRequest, _context: Context
    ) -> dataset_service_pb2.GetDatasetVersionResponse:
        """Reads a version."""
        version = await asyncio.to_thread(self._catalogue.get_version, VersionName.parse(request.name, "datasets"))
        return dataset_service_pb2.GetDatasetVersionResponse(dataset_version=mapping.version_to_proto(version))

    async def ListDatasetVersions(
        self, request: dataset_service_pb2.ListDatasetVersionsRequest, _context: Context
    ) -> dataset_service_pb2.ListDatasetVersionsResponse:
        """Reads a page of a dataset's versions."""
        read = partial(self._catalogue.list_versions, ResourceName.parse(request.parent, "datasets"))
        versions, token = await list_page(request, dataset_pb2.DatasetVersion, read, mapping.version_to_proto)
        return dataset_service_pb2.ListDatasetVersionsResponse(dataset_versions=versions, next_page_token=token)

    async def GetImportReport(
        self, request: dataset_service_pb2.GetImportReportRequest, _context: Context
    ) -> dataset_service_pb2.GetImportReportResponse:
        """Reads the report of the import that made a version."""
        version = await asyncio.to_thread(self._catalogue.get_version, VersionName.parse(request.name, "datasets"))
        report = await asyncio.to_thread(self._catalogue.report, version)
        return dataset_service_pb2.GetImportReportResponse(report=mapping.report_to_proto(report))

    async def RenderImportReport(
        self, request: dataset_service_pb2.RenderImportReportRequest, _context: Context
    ) -> AsyncIterator[dataset_service_pb2.RenderImportReportResponse]:
        """Streams the page of a version's report."""
        version = await asyncio.to_thread(self._catalogue.get_version, VersionName.parse(request.name, "datasets"))
        async with self._drawing:
            page = await asyncio.to_thread(self._catalogue.page, version)
        for start in range(0, len(page), _CHUNK_BYTES):
            yield dataset_service_pb2.RenderImportReportResponse(data=page[start : start + _CHUNK_BYTES])

    async def PreviewDatasetVersion(
        self, request: dataset_service_pb2.PreviewDatasetVersionRequest, _context: Context
    ) -> AsyncIterator[dataset_service_pb2.PreviewDatasetVersionResponse]:
        """Streams images with thumbnails."""
        wanted = preview_from_proto(request)
        version = await asyncio.to_thread(self._catalogue.get_version, VersionName.parse(request.name, "datasets"))
        images = await asyncio.to_thread(self._catalogue.preview, version, wanted)
        while True:
            async with self._drawing:
                some = await asyncio.to_thread(lambda: list(itertools.islice(images, _PARTS_AT_ONCE)))
            for row, thumbnail in some:
                yield dataset_service_pb2.PreviewDatasetVersionResponse(image=preview_to_proto(version, row, thumbnail))
            if not some:
                return

    async def DiffDatasetVersions(
        self, request: dataset_service_pb2.DiffDatasetVersionsRequest, _context: Context
    ) -> dataset_service_pb2.DiffDatasetVersionsResponse:
        """Compares two versions."""
        names = VersionName.parse(request.name, "datasets"), VersionName.parse(request.other, "datasets")
        one, other, found = await asyncio.to_thread(self._catalogue.diff, *names)
        return dataset_service_pb2.DiffDatasetVersionsResponse(diff=mapping.diff_to_proto(one, other, found))

    async def DownloadDatasetVersion(
        self, request: dataset_service_pb2.DownloadDatasetVersionRequest, _context: Context
    ) -> AsyncIterator[dataset_service_pb2.DownloadDatasetVersionResponse]:
        """Streams a version's files."""
        version = await asyncio.to_thread(self._catalogue.get_version, VersionName.parse(request.name, "datasets"))
        layout, uncertain = mapping.layout_from_proto(request)
        download = await asyncio.to_thread(self._catalogue.download, version, layout, request.after_path, uncertain)
        while parts := await asyncio.to_thread(lambda: list(itertools.islice(download.parts, _PARTS_AT_ONCE))):
            for part in parts:
                if part.path:
                    header = dataset_service_pb2.DownloadedFile(
                        path=part.path, size_bytes=part.size, file_count=download.file_count, total_bytes=download.total_bytes
                    )
                    yield dataset_service_pb2.DownloadDatasetVersionResponse(file=header)
                else:
                    self._metrics.downloaded(len(part.data))
                    yield dataset_service_pb2.DownloadDatasetVersionResponse(data=part.data)

    async def DeleteDataset(
        self, request: dataset_service_pb2.DeleteDatasetRequest, _context: Context
    ) -> dataset_service_pb2.DeleteDatasetResponse:
        """Deletes a dataset."""
        delete = partial(self._deletions.delete_dataset, ResourceName.parse(request.name, "datasets"), validate_only=request.validate_only)
        return dataset_service_pb2.DeleteDatasetResponse(deletion=storage_mapping.deletion_to_proto(await asyncio.to_thread(delete)))

    async def DeleteDatasetVersion(
        self, request: dataset_service_pb2.DeleteDatasetVersionRequest, _context: Context
    ) -> dataset_service_pb2.DeleteDatasetVersionResponse:
        """Deletes a version."""
        # Not "the newest": a call that is repeated because its answer got lost would delete the next one.
        name = VersionName.parse(request.name, "datasets", allow_newest=False)
        delete = partial(self._deletions.delete_version, name, validate_only=request.validate_only)
        return dataset_service_pb2.DeleteDatasetVersionResponse(deletion=storage_mapping.deletion_to_proto(await asyncio.to_thread(delete)))


class ImportJobServicer(import_job_service_pb2_grpc.ImportJobServiceServicer):
    """``visionyard.dataset.v1.ImportJobService``.

    Args:
        imports: The use cases.
        metrics: What is counted.
    """

    def __init__(self, imports: Imports, metrics: Metrics) -> None:
        self._imports = imports
        self._metrics = metrics

    async def CreateImportJob(
        self, request: import_job_service_pb2.CreateImportJobRequest, _context: Context
    ) -> import_job_service_pb2.CreateImportJobResponse:
        """Queues a job."""
        project = ProjectName.parse(request.parent)
        spec = mapping.spec_from_proto(request.import_job.spec)
        self._metrics.created()
        view = await asyncio.to_thread(self._imports.create, project, spec, request.request_id)
        return import_job_service_pb2.CreateImportJobResponse(import_job=mapping.import_job_to_proto(view))

    async def GetImportJob(
        self, request: import_job_service_pb2.GetImportJobRequest, _context: Context
    ) -> import_job_service_pb2.GetImportJobResponse:
        """Reads a job."""
        view = await asyncio.to_thread(self._imports.get, _job_name(request.name))
        return import_job_service_pb2.GetImportJobResponse(import_job=mapping.import_job_to_proto(view))

    async def ListImportJobs(
        self, request: import_job_service_pb2.ListImportJobsRequest, _context: Context
    ) -> import_job_service_pb2.ListImportJobsResponse:
        """Reads a page of jobs."""
        read = partial(self._imports.list_jobs, ProjectName.parse(request.parent))
        jobs, token = await list_page(request, import_job_pb2.ImportJob, read, mapping.import_job_to_proto)
        return import_job_service_pb2.ListImportJobsResponse(import_jobs=jobs, next_page_token=token)

    async def CancelImportJob(
        self, request: import_job_service_pb2.CancelImportJobRequest, _context: Context
    ) -> import_job_service_pb2.CancelImportJobResponse:
        """Cancels a job."""
        view = await asyncio.to_thread(self._imports.cancel, _job_name(request.name))
        return import_job_service_pb2.CancelImportJobResponse(import_job=mapping.import_job_to_proto(view))

    async def WatchImportJob(
        self, request: import_job_service_pb2.WatchImportJobRequest, _context: Context
    ) -> AsyncIterator[import_job_service_pb2.WatchImportJobResponse]:
        """Streams a job's snapshots until it has ended."""
        async for job, progress, sequence in self._imports.jobs.watch(_job_name(request.name), request.after_sequence):
            view = await asyncio.to_thread(self._imports.view, job, progress)
            yield import_job_service_pb2.WatchImportJobResponse(import_job=mapping.import_job_to_proto(view), sequence=sequence)
