"""Evaluation jobs: two models on the images of one dataset version, side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from visionyard.client.downloads import write_whole
from visionyard.client.jobs import PAGE, AsyncJobs, Snapshot
from visionyard.client.sync import Blocking, BlockingIterator, Facade
from visionyard.client.transport import Patience
from visionyard.kit.request_id import new_request_id
from visionyard.training.v1 import evaluation_job_pb2, evaluation_job_service_pb2, evaluation_report_pb2
from visionyard.training.v1.evaluation_job_service_pb2_grpc import EvaluationJobServiceStub

SnapshotOfEvaluation = Snapshot[evaluation_job_pb2.EvaluationJob]


class AsyncEvaluationJobs(AsyncJobs[evaluation_job_pb2.EvaluationJob]):
    """The evaluation jobs of a project."""

    service = "training"
    collection = "evaluationJobs"

    async def create(
        self, first: str, second: str, *, dataset: str, split: str = "", request_id: str = ""
    ) -> evaluation_job_pb2.EvaluationJob:
        """Queues a comparison of two models.

        Args:
            first: A model version, ``NAME[@V]`` or a resource name.
            second: Another one, or the same.
            dataset: The dataset version whose images both are validated on, named likewise.
            split: ``val``, ``test`` or ``train``; empty: ``val``.
            request_id: A UUID; the same one again gives the same job. Empty: a fresh one.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD, UNSUPPORTED_TASK), FAILED_PRECONDITION (VERSIONS_MISMATCH), NOT_FOUND (MODEL_NOT_FOUND,
                DATASET_NOT_FOUND and their versions).
        """
        spec = evaluation_job_pb2.EvaluationSpec(
            first_model_version=self._names.version("models", first),
            second_model_version=self._names.version("models", second),
            dataset_version=self._names.version("datasets", dataset),
            split=split,
        )
        request = evaluation_job_service_pb2.CreateEvaluationJobRequest(
            parent=self._names.parent,
            evaluation_job=evaluation_job_pb2.EvaluationJob(spec=spec),
            request_id=request_id or new_request_id(),
        )
        response = await self._transport.unary(self.service, lambda channel: EvaluationJobServiceStub(channel).CreateEvaluationJob, request)
        return response.evaluation_job

    async def report(self, job: str) -> evaluation_report_pb2.EvaluationReport:
        """What a job that has ended well has found.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND), FAILED_PRECONDITION (JOB_UNFINISHED), DATA_LOSS (ARTIFACT_CORRUPT).
        """
        request = evaluation_job_service_pb2.GetEvaluationReportRequest(name=self._names.resource(self.collection, job))
        response = await self._transport.unary(self.service, lambda channel: EvaluationJobServiceStub(channel).GetEvaluationReport, request)
        return response.report

    async def report_page(self, job: str, to: Path | str) -> Path:
        """The same as an HTML file with pictures that needs nothing from outside.

        Args:
            job: Its id or resource name.
            to: The file; it is replaced where it is there, once the new one is whole.

        Returns:
            The file's path.

        Raises:
            ClientError: as for :meth:`report`.
        """
        request = evaluation_job_service_pb2.RenderEvaluationReportRequest(name=self._names.resource(self.collection, job))
        parts = await self._transport.whole(self.service, lambda channel: EvaluationJobServiceStub(channel).RenderEvaluationReport, request)
        return await write_whole(Path(to), [response.data for response in parts])

    async def logs(
        self, job: str, *, offset: int = 0, follow: bool = False
    ) -> AsyncIterator[evaluation_job_service_pb2.ReadEvaluationLogsResponse]:
        """What a job's workers printed.

        Args:
            job: Its id or resource name.
            offset: Where to begin, in bytes.
            follow: Whether to go on until the job has ended.

        Raises:
            ClientError: NOT_FOUND (JOB_NOT_FOUND).
        """
        name = self._names.resource(self.collection, job)
        request = evaluation_job_service_pb2.ReadEvaluationLogsRequest(name=name, offset=offset, follow=follow)
        async for response in self._transport.stream(
            self.service,
            lambda channel: EvaluationJobServiceStub(channel).ReadEvaluationLogs,
            lambda: request,
            Patience(self._transport, self.service),
        ):
            request.offset = response.offset + len(response.data)
            yield response

    async def _get(self, name: str) -> evaluation_job_pb2.EvaluationJob:
        request = evaluation_job_service_pb2.GetEvaluationJobRequest(name=name)
        response = await self._transport.unary(self.service, lambda channel: EvaluationJobServiceStub(channel).GetEvaluationJob, request)
        return response.evaluation_job

    async def _page(self, token: str, where: str) -> tuple[list[evaluation_job_pb2.EvaluationJob], str]:
        request = evaluation_job_service_pb2.ListEvaluationJobsRequest(
            parent=self._names.parent, page_size=PAGE, page_token=token, filter=where
        )
        response = await self._transport.unary(self.service, lambda channel: EvaluationJobServiceStub(channel).ListEvaluationJobs, request)
        return list(response.evaluation_jobs), response.next_page_token

    async def _cancel(self, name: str) -> evaluation_job_pb2.EvaluationJob:
        request = evaluation_job_service_pb2.CancelEvaluationJobRequest(name=name)
        response = await self._transport.unary(self.service, lambda channel: EvaluationJobServiceStub(channel).CancelEvaluationJob, request)
        return response.evaluation_job

    async def _watch(self, name: str, sequence: Callable[[], int], patience: Patience) -> AsyncIterator[SnapshotOfEvaluation]:
        async for response in self._transport.stream(
            self.service,
            lambda channel: EvaluationJobServiceStub(channel).WatchEvaluationJob,
            lambda: evaluation_job_service_pb2.WatchEvaluationJobRequest(name=name, after_sequence=sequence()),
            patience,
        ):
            yield Snapshot(response.evaluation_job, response.sequence, response)


class EvaluationJobs(Facade[AsyncEvaluationJobs]):
    """The evaluation jobs of a project."""

    create = Blocking(AsyncEvaluationJobs.create)
    get = Blocking(AsyncEvaluationJobs.get)
    list = Blocking(AsyncEvaluationJobs.list)
    cancel = Blocking(AsyncEvaluationJobs.cancel)
    watch = BlockingIterator(AsyncEvaluationJobs.watch)
    wait = Blocking(AsyncEvaluationJobs.wait)
    logs = BlockingIterator(AsyncEvaluationJobs.logs)
    report = Blocking(AsyncEvaluationJobs.report)
    report_page = Blocking(AsyncEvaluationJobs.report_page)
