"""Import jobs: from an uploaded archive to a dataset version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from visionyard.client.jobs import PAGE, AsyncJobs, Snapshot
from visionyard.client.references import References
from visionyard.client.sources import is_address, open_labels, open_source
from visionyard.client.sync import Blocking, BlockingIterator, Facade
from visionyard.client.transport import Patience, Transport
from visionyard.client.uploads import AsyncUploads, OnProgress
from visionyard.dataset.v1 import dataset_pb2, import_job_pb2, import_job_service_pb2
from visionyard.dataset.v1.import_job_service_pb2_grpc import ImportJobServiceStub
from visionyard.kit.request_id import new_request_id

DATUMARO = "datumaro:"
"""Before the name of a format that Datumaro is to read."""
SnapshotOfImport = Snapshot[import_job_pb2.ImportJob]


class ImportOptions(TypedDict, total=False):
    """How to import.

    Attributes:
        source_name: The archive's name, for messages.
        source_format: ``auto``, ``yolo``, ``voc``, ``coco``, ``labelstudio``, ``labelme``, ``labelme3``, ``cvat``, ``createml``, ``via``, ``folders`` or ``predictions``;
            ``datumaro:<name>`` where the service is to have Datumaro read it.
        task: ``detect``, ``segment``, ``classify``, ``pose`` or ``obb``; empty: found out.
        split_ratios: Shares of train, val and test, together 1; empty for the source's own.
        seed: Of a drawn split.
        strict: Whether to refuse a source with errors.
        fix: Whether to mend what can be mended safely.
        dry_run: Whether to look only.
        append: Whether to add to the dataset's newest version.
    """

    source_name: str
    source_format: str
    task: str
    split_ratios: Sequence[float]
    seed: int
    strict: bool
    fix: bool
    dry_run: bool
    append: bool


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
        images_upload: str = "",
        request_id: str = "",
        **options: Unpack[ImportOptions],
    ) -> import_job_pb2.ImportJob:
        """Queues an import of a complete upload, or of what the service fetches itself.

        Args:
            dataset: The dataset that gets a new version, an id or resource name; made where it is not there.
            upload: The upload's resource name; empty with ``source_url``.
            source_url: ``https://``, ``http://`` or ``s3://``, listed in the service's settings.
            images_upload: Another's, of images that the labels of the first belong to; empty for none.
            request_id: A UUID; the same one again gives the same job. Empty: a fresh one.
            **options: See :class:`ImportOptions`.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD, INVALID_NAME), NOT_FOUND (UPLOAD_NOT_FOUND), FAILED_PRECONDITION (UPLOAD_INCOMPLETE, CONVERTER_MISSING),
                PERMISSION_DENIED (SOURCE_NOT_ALLOWED).
        """
        source_format, task = options.get("source_format", ""), options.get("task", "")
        datumaro_format = source_format.removeprefix(DATUMARO) if source_format.startswith(DATUMARO) else ""
        spec = import_job_pb2.ImportSpec(
            dataset=self._names.resource("datasets", dataset),
            upload=upload,
            source_url=source_url,
            images_upload=images_upload,
            source_name=options.get("source_name", ""),
            format=import_job_pb2.SourceFormat.Value(f"SOURCE_FORMAT_{_word('' if datumaro_format else source_format)}"),
            datumaro_format=datumaro_format,
            task=dataset_pb2.Task.Value(f"TASK_{_word(task)}"),
            split_ratios=options.get("split_ratios", ()),
            seed=options.get("seed", 0),
            strict=options.get("strict", False),
            fix=options.get("fix", False),
            dry_run=options.get("dry_run", False),
            append=options.get("append", False),
        )
        return await self._create(spec, request_id)

    async def derive(self, dataset: str, derivation: import_job_pb2.Derivation, *, request_id: str = "") -> import_job_pb2.ImportJob:
        """Queues the making of a version from others.

        Args:
            dataset: The dataset that gets the version, an id or resource name; made where it is not there.
            derivation: What to do; its sources are resource names of versions.
            request_id: As in :meth:`create`.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD, INVALID_NAME), NOT_FOUND (DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND).
        """
        return await self._create(
            import_job_pb2.ImportSpec(dataset=self._names.resource("datasets", dataset), derivation=derivation), request_id
        )

    async def _create(self, spec: import_job_pb2.ImportSpec, request_id: str) -> import_job_pb2.ImportJob:
        request = import_job_service_pb2.CreateImportJobRequest(
            parent="/".join(spec.dataset.split("/")[:2]),
            import_job=import_job_pb2.ImportJob(spec=spec),
            request_id=request_id or new_request_id(),
        )
        response = await self._transport.unary(self.service, lambda channel: ImportJobServiceStub(channel).CreateImportJob, request)
        return response.import_job

    async def run(
        self,
        path: Path | str,
        dataset: str,
        *,
        images: Path | str | None = None,
        on_upload: OnProgress | None = None,
        on_snapshot: Callable[[SnapshotOfImport], None] | None = None,
        **options: Unpack[ImportOptions],
    ) -> import_job_pb2.ImportJob:
        """Uploads an archive or folder, imports it and waits until that is done.

        Args:
            path: The archive, folder or single annotation file; what it names by an address the service fetches instead.
            dataset: As in :meth:`create`.
            images: A folder or archive of images that the labels belong to.
            on_upload: Hears how far the uploads are.
            on_snapshot: Hears how far the job is.
            **options: See :class:`ImportOptions`.

        Returns:
            The job as it ended; ``dataset_version`` (unless it was a dry run) and ``report`` are set.

        Raises:
            JobFailed: the import failed.
            ClientError: as :meth:`create`, and what reading and uploading the source raises.
        """
        address = str(path) if is_address(str(path)) else ""
        sources = [*([] if address else [open_labels(Path(path))]), *([open_source(Path(images))] if images else [])]
        names = [(await self._uploads.upload(self.service, source, on_progress=on_upload)).name for source in sources]
        options.setdefault("source_name", "" if address else sources[0].name)
        images_upload = names.pop() if images else ""
        job = await self.create(dataset, names[0] if names else "", source_url=address, images_upload=images_upload, **options)
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


def _word(text: str) -> str:
    """How an enum's value that people call ``text`` ends; empty and ``auto`` mean unspecified."""
    return "UNSPECIFIED" if text in {"", "auto"} else text.upper()


class ImportJobs(Facade[AsyncImportJobs]):
    """The import jobs of a project."""

    create = Blocking(AsyncImportJobs.create)
    derive = Blocking(AsyncImportJobs.derive)
    run = Blocking(AsyncImportJobs.run)
    get = Blocking(AsyncImportJobs.get)
    list = Blocking(AsyncImportJobs.list)
    cancel = Blocking(AsyncImportJobs.cancel)
    watch = BlockingIterator(AsyncImportJobs.watch)
    wait = Blocking(AsyncImportJobs.wait)
