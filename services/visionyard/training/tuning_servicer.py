"""``visionyard.training.v1.TuningJobService``: each RPC translates its request, calls a use case in a thread, and translates the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc.aio

from visionyard.kit.jobs.model import JobKind
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.server.listing import list_page
from visionyard.training import tuning_mapping as mapping
from visionyard.training.tuning.tunings import Tunings
from visionyard.training.v1 import tuning_job_pb2, tuning_job_service_pb2_grpc
from visionyard.training.v1 import tuning_job_service_pb2 as messages

Context = grpc.aio.ServicerContext[Any, Any]


def _job_name(name: str) -> ResourceName:
    return ResourceName.parse(name, JobKind.TUNING.collection)


class TuningJobServicer(tuning_job_service_pb2_grpc.TuningJobServiceServicer):
    """Searches.

    Args:
        tunings: The use cases.
    """

    def __init__(self, tunings: Tunings) -> None:
        self._tunings = tunings

    async def CreateTuningJob(self, request: messages.CreateTuningJobRequest, _context: Context) -> messages.CreateTuningJobResponse:
        """Begins a search."""
        project = ProjectName.parse(request.parent)
        wanted = mapping.wanted_from_proto(request.tuning_job.spec)
        job = await asyncio.to_thread(self._tunings.create, project, wanted, request.request_id)
        return messages.CreateTuningJobResponse(tuning_job=mapping.tuning_to_proto(job))

    async def GetTuningJob(self, request: messages.GetTuningJobRequest, _context: Context) -> messages.GetTuningJobResponse:
        """Reads a search."""
        job = await asyncio.to_thread(self._tunings.get, _job_name(request.name))
        return messages.GetTuningJobResponse(tuning_job=mapping.tuning_to_proto(job))

    async def ListTuningJobs(self, request: messages.ListTuningJobsRequest, _context: Context) -> messages.ListTuningJobsResponse:
        """Reads a page of searches."""
        read = partial(self._tunings.list_jobs, ProjectName.parse(request.parent))
        jobs, token = await list_page(request, tuning_job_pb2.TuningJob, read, partial(mapping.tuning_to_proto, with_trials=False))
        return messages.ListTuningJobsResponse(tuning_jobs=jobs, next_page_token=token)

    async def CancelTuningJob(self, request: messages.CancelTuningJobRequest, _context: Context) -> messages.CancelTuningJobResponse:
        """Cancels a search."""
        job = await asyncio.to_thread(self._tunings.cancel, _job_name(request.name))
        return messages.CancelTuningJobResponse(tuning_job=mapping.tuning_to_proto(job))

    async def WatchTuningJob(
        self, request: messages.WatchTuningJobRequest, _context: Context
    ) -> AsyncIterator[messages.WatchTuningJobResponse]:
        """Streams a search's snapshots until it has ended."""
        async for job, _, sequence in self._tunings.jobs.watch(_job_name(request.name), request.after_sequence):
            yield messages.WatchTuningJobResponse(tuning_job=mapping.tuning_to_proto(job), sequence=sequence)
