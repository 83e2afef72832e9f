"""Export jobs and the artifacts that they make."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from visionyard.client.jobs import PAGE, AsyncJobs, Snapshot, all_pages
from visionyard.client.references import References
from visionyard.client.sync import Blocking, BlockingIterator, Facade
from visionyard.client.transport import Patience, Transport
from visionyard.export.v1 import artifact_pb2, artifact_service_pb2, export_job_pb2, export_job_service_pb2
from visionyard.export.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from visionyard.export.v1.export_job_service_pb2_grpc import ExportJobServiceStub
from visionyard.kit.request_id import new_request_id

SnapshotOfExport = Snapshot[export_job_pb2.ExportJob]
_FORMATS = {"onnx": artifact_pb2.ARTIFACT_FORMAT_ONNX}


class AsyncExportJobs(AsyncJobs[export_job_pb2.ExportJob]):
    """The export jobs of a project."""

    service = "export"
    collection = "exportJobs"

    async def create(
        self, model: str, *, artifact_format: str = "onnx", dataset: str = "", request_id: str = ""
    ) -> export_job_pb2.ExportJob:
        """Queues an export; what was exported before in the same way is found, not built again.

        Args:
            model: The model version, ``NAME[@V]`` or a resource name.
            artifact_format: ``onnx``.
            dataset: A dataset version, ``NAME[@V]`` or a resource name, whose validation images the comparison uses. Empty: the one that the model
                was trained on, else the two pictures that Ultralytics brings.
            request_id: A UUID; the same one again gives the same job. Empty: a fresh one.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD, UNSUPPORTED_TASK), NOT_FOUND (MODEL_NOT_FOUND, DATASET_NOT_FOUND and their versions).
        """
        spec = export_job_pb2.ExportSpec(
            model_version=self._names.version("models", model),
            format=_FORMATS[artifact_format],
            dataset_version=self._names.version("datasets", dataset) if dataset else "",
        )
        request = export_job_service_pb2.CreateExportJobRequest(
            parent=self._names.parent, export_job=export_job_pb2.ExportJob(spec=spec), request_id=request_id or new_request_id()
        )
        response = await self._transport.unary(self.service, lambda channel: ExportJobServiceStub(channel).CreateExportJob, request)
        return response.export_job

    async def _get(self, name: str) -> export_job_pb2.ExportJob:
        request = export_job_service_pb2.GetExportJobRequest(name=name)
        response = await self._transport.unary(self.service, lambda channel: ExportJobServiceStub(channel).GetExportJob, request)
        return response.export_job

    async def _page(self, token: str, where: str) -> tuple[list[export_job_pb2.ExportJob], str]:
        request = export_job_service_pb2.ListExportJobsRequest(parent=self._names.parent, page_size=PAGE, page_token=token, filter=where)
        response = await self._transport.unary(self.service, lambda channel: ExportJobServiceStub(channel).ListExportJobs, request)
        return list(response.export_jobs), response.next_page_token

    async def _cancel(self, name: str) -> export_job_pb2.ExportJob:
        request = export_job_service_pb2.CancelExportJobRequest(name=name)
        response = await self._transport.unary(self.service, lambda channel: ExportJobServiceStub(channel).CancelExportJob, request)
        return response.export_job

    async def _watch(self, name: str, sequence: Callable[[], int], patience: Patience) -> AsyncIterator[SnapshotOfExport]:
        async for response in self._transport.stream(
            self.service,
            lambda channel: ExportJobServiceStub(channel).WatchExportJob,
            lambda: export_job_service_pb2.WatchExportJobRequest(name=name, after_sequence=sequence()),
            patience,
        ):
            yield Snapshot(response.export_job, response.sequence, response)


class AsyncArtifacts:
    """The artifacts of model versions.

    Args:
        transport: The channels.
        names: Names in the project.
    """

    def __init__(self, transport: Transport, names: References) -> None:
        self._transport = transport
        self._names = names

    async def get(self, name: str) -> artifact_pb2.Artifact:
        """Reads an artifact by its resource name.

        Raises:
            ClientError: NOT_FOUND (ARTIFACT_NOT_FOUND).
        """
        request = artifact_service_pb2.GetArtifactRequest(name=name)
        response = await self._transport.unary("export", lambda channel: ArtifactServiceStub(channel).GetArtifact, request)
        return response.artifact

    async def list(self, version: str, where: str = "") -> list[artifact_pb2.Artifact]:
        """All artifacts of a model version, by key digest.

        Args:
            version: ``NAME[@V]`` or a resource name.
            where: Only those, as ``key.precision = fp32``: a filter of https://google.aip.dev/160 on the artifact's fields.

        Raises:
            ClientError: NOT_FOUND (MODEL_VERSION_NOT_FOUND), INVALID_ARGUMENT (INVALID_FIELD), ``where`` is no filter.
        """
        parent = self._names.version("models", version)

        async def page(token: str) -> artifact_service_pb2.ListArtifactsResponse:
            request = artifact_service_pb2.ListArtifactsRequest(parent=parent, page_size=PAGE, page_token=token, filter=where)
            return await self._transport.unary("export", lambda channel: ArtifactServiceStub(channel).ListArtifacts, request)

        return await all_pages(page, "artifacts")


class ExportJobs(Facade[AsyncExportJobs]):
    """The export jobs of a project."""

    create = Blocking(AsyncExportJobs.create)
    get = Blocking(AsyncExportJobs.get)
    list = Blocking(AsyncExportJobs.list)
    cancel = Blocking(AsyncExportJobs.cancel)
    watch = BlockingIterator(AsyncExportJobs.watch)
    wait = Blocking(AsyncExportJobs.wait)


class Artifacts(Facade[AsyncArtifacts]):
    """The artifacts of model versions."""

    get = Blocking(AsyncArtifacts.get)
    list = Blocking(AsyncArtifacts.list)
