"""``visionyard.training.v1.TrainingJobService``: each RPC translates its request, calls a use case in a thread, and translates the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import grpc.aio

from visionyard.kit.errors import invalid_field
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.server.listing import list_page
from visionyard.training import mapping
from visionyard.training.logs import follow_log
from visionyard.training.machine_mapping import estimate_to_proto
from visionyard.training.report_mapping import report_to_proto
from visionyard.training.slots import ClosedSlot
from visionyard.training.trainings import Trainings
from visionyard.training.v1 import training_job_pb2, training_job_service_pb2_grpc
from visionyard.training.v1 import training_job_service_pb2 as messages

_CHUNK_BYTES = 1 << 20
_PAGES_AT_ONCE = 2
Context = grpc.aio.ServicerContext[Any, Any]


def _job_name(name: str) -> ResourceName:
    return ResourceName.parse(name, JobKind.TRAINING.collection)


class TrainingJobServicer(training_job_service_pb2_grpc.TrainingJobServiceServicer):
    """Training jobs.

    Args:
        trainings: The use cases.
        closed_slots: Gives the slots of this machine that get no job now.
        end_waits_for: Tells the people of a project what the command at the end waits for; empty for nothing.
    """

    def __init__(self, trainings: Trainings, closed_slots: Callable[[], Sequence[ClosedSlot]], end_waits_for: Callable[[str], str]) -> None:
        self._trainings = trainings
        self._drawing = asyncio.Semaphore(_PAGES_AT_ONCE)
        self._closed_slots = closed_slots
        self._end_waits_for = end_waits_for

    async def CreateTrainingJob(self, request: messages.CreateTrainingJobRequest, _context: Context) -> messages.CreateTrainingJobResponse:
        """Queues a job."""
        project = ProjectName.parse(request.parent)
        spec = mapping.spec_from_proto(request.training_job.spec)
        scheduling = mapping.scheduling_from_proto(request.training_job.scheduling)
        view = await asyncio.to_thread(
            self._trainings.create,
            project,
            spec,
            request.request_id,
            scheduling,
            request.preset,
            without_tensorboard=request.without_tensorboard,
        )
        return messages.CreateTrainingJobResponse(training_job=mapping.job_to_proto(view))

    async def EstimateTraining(self, request: messages.EstimateTrainingRequest, _context: Context) -> messages.EstimateTrainingResponse:
        """Estimates a job."""
        project = ProjectName.parse(request.parent)
        spec = mapping.spec_from_proto(request.training_job.spec)
        scheduling = mapping.scheduling_from_proto(request.training_job.scheduling)
        found = await asyncio.to_thread(self._trainings.estimate, project, spec, scheduling, request.preset)
        estimates = [estimate_to_proto(project.project, one) for one in found]
        return messages.EstimateTrainingResponse(
            expected_duration=estimates[0].expected_duration if estimates[0].HasField("expected_duration") else None,
            expected_cost=estimates[0].expected_cost,
            past_error_ratio=estimates[0].past_error_ratio,
            estimates=estimates,
        )

    async def GetTrainingJob(self, request: messages.GetTrainingJobRequest, _context: Context) -> messages.GetTrainingJobResponse:
        """Reads a job."""
        view = await asyncio.to_thread(self._trainings.get, _job_name(request.name))
        return messages.GetTrainingJobResponse(training_job=mapping.job_to_proto(view))

    async def ListTrainingJobs(self, request: messages.ListTrainingJobsRequest, _context: Context) -> messages.ListTrainingJobsResponse:
        """Reads a page of jobs."""
        read = partial(self._trainings.list_jobs, ProjectName.parse(request.parent))
        jobs, token = await list_page(request, training_job_pb2.TrainingJob, read, mapping.job_to_proto)
        return messages.ListTrainingJobsResponse(training_jobs=jobs, next_page_token=token)

    async def CancelTrainingJob(self, request: messages.CancelTrainingJobRequest, _context: Context) -> messages.CancelTrainingJobResponse:
        """Cancels a job."""
        view = await asyncio.to_thread(self._trainings.cancel, _job_name(request.name))
        return messages.CancelTrainingJobResponse(training_job=mapping.job_to_proto(view))

    async def ResumeTrainingJob(self, request: messages.ResumeTrainingJobRequest, _context: Context) -> messages.ResumeTrainingJobResponse:
        """Queues an ended job once more."""
        for field in ("epochs", "from_epoch"):
            if getattr(request, field) < 0:
                raise invalid_field(field, f"must be 0 or more, but is {getattr(request, field)}")
        view = await asyncio.to_thread(self._trainings.resume, _job_name(request.name), request.epochs, request.from_epoch)
        return messages.ResumeTrainingJobResponse(training_job=mapping.job_to_proto(view))

    async def GetTrainingQueue(self, request: messages.GetTrainingQueueRequest, _context: Context) -> messages.GetTrainingQueueResponse:
        """Reads the queue."""
        project = ProjectName.parse(request.parent)
        views, queue = await asyncio.to_thread(self._trainings.queue, project)
        return messages.GetTrainingQueueResponse(
            training_jobs=map(mapping.job_to_proto, views),
            others_running=queue.others_running,
            others_waiting=queue.others_waiting,
            closed_slots=map(mapping.closed_slot_to_proto, self._closed_slots()),
            end_command_waits_for=self._end_waits_for(project.project),
        )

    async def WatchTrainingJob(
        self, request: messages.WatchTrainingJobRequest, _context: Context
    ) -> AsyncIterator[messages.WatchTrainingJobResponse]:
        """Streams a job's snapshots until it has ended."""
        async for job, progress, sequence in self._trainings.jobs.watch(_job_name(request.name), request.after_sequence):
            view = await asyncio.to_thread(self._trainings.view, job, progress)
            yield messages.WatchTrainingJobResponse(training_job=mapping.job_to_proto(view), sequence=sequence)

    async def ReadLogs(self, request: messages.ReadLogsRequest, _context: Context) -> AsyncIterator[messages.ReadLogsResponse]:
        """Streams a job's log."""
        if request.offset < 0:
            raise invalid_field("offset", f"must be 0 or more, but is {request.offset}")
        async for offset, data in follow_log(self._trainings.jobs, _job_name(request.name), request.offset, follow=request.follow):
            yield messages.ReadLogsResponse(offset=offset, data=data)

    async def ListJobFiles(self, request: messages.ListJobFilesRequest, _context: Context) -> messages.ListJobFilesResponse:
        """Lists what a job has made so far."""
        files = await asyncio.to_thread(self._trainings.files, _job_name(request.name))
        return messages.ListJobFilesResponse(files=mapping.files_to_proto(files))

    async def GetTrainingReport(self, request: messages.GetTrainingReportRequest, _context: Context) -> messages.GetTrainingReportResponse:
        """Reads what a job has come to."""
        report = await asyncio.to_thread(self._trainings.report, _job_name(request.name))
        return messages.GetTrainingReportResponse(report=await asyncio.to_thread(report_to_proto, report))

    async def RenderTrainingReport(
        self, request: messages.RenderTrainingReportRequest, _context: Context
    ) -> AsyncIterator[messages.RenderTrainingReportResponse]:
        """Streams the page of a job's report."""
        async with self._drawing:
            page = await asyncio.to_thread(self._trainings.page, _job_name(request.name))
        for start in range(0, len(page), _CHUNK_BYTES):
            yield messages.RenderTrainingReportResponse(data=page[start : start + _CHUNK_BYTES])
