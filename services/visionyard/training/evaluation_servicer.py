"""``visionyard.training.v1.EvaluationJobService``: each RPC translates its request, calls a use case in a thread, and translates the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc.aio

from visionyard.kit.errors import invalid_field
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.server.listing import list_page
from visionyard.training.evaluation_mapping import evaluation_report_to_proto, evaluation_spec_from_proto, evaluation_to_proto
from visionyard.training.evaluations import Evaluations
from visionyard.training.logs import follow_log
from visionyard.training.v1 import evaluation_job_pb2, evaluation_job_service_pb2_grpc
from visionyard.training.v1 import evaluation_job_service_pb2 as messages

_CHUNK_BYTES = 1 << 20
_PAGES_AT_ONCE = 2
Context = grpc.aio.ServicerContext[Any, Any]


def _job_name(name: str) -> ResourceName:
    return ResourceName.parse(name, JobKind.EVALUATION.collection)


class EvaluationJobServicer(evaluation_job_service_pb2_grpc.EvaluationJobServiceServicer):
    """Evaluation jobs.

    Args:
        evaluations: The use cases.
    """

    def __init__(self, evaluations: Evaluations) -> None:
        self._evaluations = evaluations
        self._drawing = asyncio.Semaphore(_PAGES_AT_ONCE)

    async def CreateEvaluationJob(
        self, request: messages.CreateEvaluationJobRequest, _context: Context
    ) -> messages.CreateEvaluationJobResponse:
        """Queues a job."""
        project, spec = ProjectName.parse(request.parent), evaluation_spec_from_proto(request.evaluation_job.spec)
        view = await asyncio.to_thread(self._evaluations.create, project, spec, request.request_id)
        return messages.CreateEvaluationJobResponse(evaluation_job=evaluation_to_proto(view))

    async def GetEvaluationJob(self, request: messages.GetEvaluationJobRequest, _context: Context) -> messages.GetEvaluationJobResponse:
        """Reads a job."""
        view = await asyncio.to_thread(self._evaluations.get, _job_name(request.name))
        return messages.GetEvaluationJobResponse(evaluation_job=evaluation_to_proto(view))

    async def ListEvaluationJobs(
        self, request: messages.ListEvaluationJobsRequest, _context: Context
    ) -> messages.ListEvaluationJobsResponse:
        """Reads a page of jobs."""
        read = partial(self._evaluations.list_jobs, ProjectName.parse(request.parent))
        jobs, token = await list_page(request, evaluation_job_pb2.EvaluationJob, read, evaluation_to_proto)
        return messages.ListEvaluationJobsResponse(evaluation_jobs=jobs, next_page_token=token)

    async def CancelEvaluationJob(
        self, request: messages.CancelEvaluationJobRequest, _context: Context
    ) -> messages.CancelEvaluationJobResponse:
        """Cancels a job."""
        view = await asyncio.to_thread(self._evaluations.cancel, _job_name(request.name))
        return messages.CancelEvaluationJobResponse(evaluation_job=evaluation_to_proto(view))

    async def WatchEvaluationJob(
        self, request: messages.WatchEvaluationJobRequest, _context: Context
    ) -> AsyncIterator[messages.WatchEvaluationJobResponse]:
        """Streams a job's snapshots until it has ended."""
        async for job, progress, sequence in self._evaluations.jobs.watch(_job_name(request.name), request.after_sequence):
            view = await asyncio.to_thread(self._evaluations.view, job, progress)
            yield messages.WatchEvaluationJobResponse(evaluation_job=evaluation_to_proto(view), sequence=sequence)

    async def ReadEvaluationLogs(
        self, request: messages.ReadEvaluationLogsRequest, _context: Context
    ) -> AsyncIterator[messages.ReadEvaluationLogsResponse]:
        """Streams a job's log."""
        if request.offset < 0:
            raise invalid_field("offset", f"must be 0 or more, but is {request.offset}")
        async for offset, data in follow_log(self._evaluations.jobs, _job_name(request.name), request.offset, follow=request.follow):
            yield messages.ReadEvaluationLogsResponse(offset=offset, data=data)

    async def GetEvaluationReport(
        self, request: messages.GetEvaluationReportRequest, _context: Context
    ) -> messages.GetEvaluationReportResponse:
        """Reads what a job has found."""
        job, document = await asyncio.to_thread(self._evaluations.report, _job_name(request.name))
        return messages.GetEvaluationReportResponse(report=await asyncio.to_thread(evaluation_report_to_proto, job, document))

    async def RenderEvaluationReport(
        self, request: messages.RenderEvaluationReportRequest, _context: Context
    ) -> AsyncIterator[messages.RenderEvaluationReportResponse]:
        """Streams the page of what a job has found."""
        async with self._drawing:
            page = await asyncio.to_thread(self._evaluations.page, _job_name(request.name))
        for start in range(0, len(page), _CHUNK_BYTES):
            yield messages.RenderEvaluationReportResponse(data=page[start : start + _CHUNK_BYTES])
