"""Import jobs: from an archive, uploaded or fetched by the service, to a dataset version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from visionyard.client.jobs import PAGE, AsyncJobs, Snapshot
from visionyard.client.references import References
from visionyard.client.sources import is_address, open_source
from visionyard.client.sync import Blocking, BlockingIterator, Facade
from visionyard.client.transport import Patience, Transport
from visionyard.client.uploads import AsyncUploads, OnProgress
from visionyard.dataset.v1 import import_job_pb2, import_job_service_pb2
from visionyard.dataset.v1.import_job_service_pb2_grpc import ImportJobServiceStub
from visionyard.kit.request_id import new_request_id

SnapshotOfImport = Snapshot[import_job_pb2.ImportJob]
_FORMATS = {
    "auto": import_job_pb2.SOURCE_FORMAT_UNSPECIFIED,
    "yolo": import_job_pb2.SOURCE_FORMAT_YOLO,
    "voc": import_job_pb2.SOURCE_FORMAT_VOC,
}


class AsyncImportJobs(AsyncJobs[import_job_pb2.ImportJob]):
    """The import jobs of a project."""

    service = "dataset"
    collection = "importJobs"

    def __init__(self, transport: Transport, names: References, uploads: AsyncUploads) -> None:
        super().__init__(transport, names)
        self._uploads = uploads

    async def create(
        self,
        dataset: str,
        upload: str = "",
        *,
        source_url: str = "",
        source_name: str = "",
        source_format: str = "auto",
        split_ratios: Sequence[float] = (),
        seed: int = 0,
        request_id: str = "",
    ) -> import_job_pb2.ImportJob:
        """Queues an import of a complete upload, or of what the service fetches itself.

        Args:
            dataset: The dataset that gets a new version, an id or resource name; made where it is not there.
            upload: The upload's resource name; empty with ``source_url``.
            source_url: ``https://``, ``http://`` or ``s3://``, listed in the service's settings.
            source_name: The archive's name, for messages.
            source_format: ``auto``, ``yolo`` or ``voc``.
            split_ratios: Shares of train, val and test, together 1; empty for the source's own.
            seed: Of a drawn split.
            request_id: A UUID; the same one again gives the same job. Empty: a fresh one.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD, INVALID_NAME), NOT_FOUND (UPLOAD_NOT_FOUND), FAILED_PRECONDITION (UPLOAD_INCOMPLETE),
                PERMISSION_DENIED (SOURCE_NOT_ALLOWED).
        """
        spec = import_job_pb2.ImportSpec(
            dataset=self._names.resource("datasets", dataset),
            upload=upload,
            source_url=source_url,
            source_name=source_name,
            format=_FORMATS[source_format],
            split_ratios=split_ratios,
            seed=seed,
        )
        request = import_job_service_pb2.CreateImportJobRequest(
            parent=self._names.parent, import_job=import_job_pb2.ImportJob(spec=spec), request_id=request_id or new_request_id()
        )
        response = await self._transport.unary(self.service, lambda channel: ImportJobServiceStub(channel).CreateImportJob, request)
        return response.import_job

    async def run(
        self,
        path: Path | str,
        dataset: str,
        *,
        source_format: str = "auto",
        split_ratios: Sequence[float] = (),
        seed: int = 0,
        on_upload: OnProgress | None = None,
        on_snapshot: Callable[[SnapshotOfImport], None] | None = None,
    ) -> import_job_pb2.ImportJob:
        """Uploads an archive or folder, imports it and waits until that is done. What ``path`` names by an address the service fetches instead.

        Returns:
            The job as it ended; ``dataset_version`` and ``report`` are set.

        Raises:
            JobFailed: the import failed.
            ClientError: as :meth:`create`, and what reading and uploading the source raises.
        """
        if is_address(str(path)):
            job = await self.create(dataset, source_url=str(path), source_format=source_format, split_ratios=split_ratios, seed=seed)
            return await self.wait(job.name, on_snapshot)
        source = open_source(Path(path))
        upload = await self._uploads.upload(self.service, source, on_progress=on_upload)
        job = await self.create(
            dataset, upload.name, source_name=source.name, source_format=source_format, split_ratios=split_ratios, seed=seed
        )
        return await self.wait(job.name, on_snapshot)

    async def _get(self, name: str) -> import_job_pb2.ImportJob:
        request = import_job_service_pb2.GetImportJobRequest(name=name)
        response = await self._transport.unary(self.service, lambda channel: ImportJobServiceStub(channel).GetImportJob, request)
        return response.import_job

    async def _page(self, token: str, where: str) -> tuple[list[import_job_pb2.ImportJob], str]:
        request = import_job_service_pb2.ListImportJobsRequest(parent=self._names.parent, page_size=PAGE, page_token=token, filter=where)
        response = await self._transport.unary(self.service, lambda channel: ImportJobServiceStub(channel).ListImportJobs, request)
        return list(response.import_jobs), response.next_page_token

    async def _cancel(self, name: str) -> import_job_pb2.ImportJob:
        request = import_job_service_pb2.CancelImportJobRequest(name=name)
        response = await self._transport.unary(self.service, lambda channel: ImportJobServiceStub(channel).CancelImportJob, request)
        return response.import_job

    async def _watch(self, name: str, sequence: Callable[[], int], patience: Patience) -> AsyncIterator[SnapshotOfImport]:
        async for response in self._transport.stream(
            self.service,
            lambda channel: ImportJobServiceStub(channel).WatchImportJob,
            lambda: import_job_service_pb2.WatchImportJobRequest(name=name, after_sequence=sequence()),
            patience,
        ):
            yield Snapshot(response.import_job, response.sequence, response)


class ImportJobs(Facade[AsyncImportJobs]):
    """The import jobs of a project."""

    create = Blocking(AsyncImportJobs.create)
    run = Blocking(AsyncImportJobs.run)
    get = Blocking(AsyncImportJobs.get)
    list = Blocking(AsyncImportJobs.list)
    cancel = Blocking(AsyncImportJobs.cancel)
    watch = BlockingIterator(AsyncImportJobs.watch)
    wait = Blocking(AsyncImportJobs.wait)
