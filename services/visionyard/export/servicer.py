"""The export service's RPCs: each translates its request, calls a use case in a thread, and translates the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc.aio

from visionyard.export import mapping
from visionyard.export.exports import Exports, ExportView
from visionyard.export.metrics import Metrics
from visionyard.export.v1 import (
    artifact_pb2,
    artifact_service_pb2,
    artifact_service_pb2_grpc,
    export_job_pb2,
    export_job_service_pb2,
    export_job_service_pb2_grpc,
)
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.names import ArtifactName, ProjectName, ResourceName, VersionName
from visionyard.kit.server.listing import list_page

Context = grpc.aio.ServicerContext[Any, Any]


def _job(view: ExportView) -> export_job_pb2.ExportJob:
    return mapping.job_to_proto(view.job, view.progress, view.queue_position, view.artifact)


def _job_name(name: str) -> ResourceName:
    return ResourceName.parse(name, JobKind.EXPORT.collection)


class ExportJobServicer(export_job_service_pb2_grpc.ExportJobServiceServicer):
    """``visionyard.export.v1.ExportJobService``.

    Args:
        exports: The use cases.
        metrics: What is counted.
    """

    def __init__(self, exports: Exports, metrics: Metrics) -> None:
        self._exports = exports
        self._metrics = metrics

    async def CreateExportJob(
        self, request: export_job_service_pb2.CreateExportJobRequest, _context: Context
    ) -> export_job_service_pb2.CreateExportJobResponse:
        """Queues a job."""
        project = ProjectName.parse(request.parent)
        asked = mapping.specification_from_proto(request.export_job.spec)
        self._metrics.created()
        view = await asyncio.to_thread(self._exports.create, project, asked, request.request_id)
        return export_job_service_pb2.CreateExportJobResponse(export_job=_job(view))

    async def GetExportJob(
        self, request: export_job_service_pb2.GetExportJobRequest, _context: Context
    ) -> export_job_service_pb2.GetExportJobResponse:
        """Reads a job."""
        view = await asyncio.to_thread(self._exports.get, _job_name(request.name))
        return export_job_service_pb2.GetExportJobResponse(export_job=_job(view))

    async def ListExportJobs(
        self, request: export_job_service_pb2.ListExportJobsRequest, _context: Context
    ) -> export_job_service_pb2.ListExportJobsResponse:
        """Reads a page of jobs."""
        read = partial(self._exports.list_jobs, ProjectName.parse(request.parent))
        jobs, token = await list_page(request, export_job_pb2.ExportJob, read, _job)
        return export_job_service_pb2.ListExportJobsResponse(export_jobs=jobs, next_page_token=token)

    async def CancelExportJob(
        self, request: export_job_service_pb2.CancelExportJobRequest, _context: Context
    ) -> export_job_service_pb2.CancelExportJobResponse:
        """Cancels a job."""
        view = await asyncio.to_thread(self._exports.cancel, _job_name(request.name))
        return export_job_service_pb2.CancelExportJobResponse(export_job=_job(view))

    async def WatchExportJob(
        self, request: export_job_service_pb2.WatchExportJobRequest, _context: Context
    ) -> AsyncIterator[export_job_service_pb2.WatchExportJobResponse]:
        """Streams a job's snapshots until it has ended."""
        async for job, progress, sequence in self._exports.jobs.watch(_job_name(request.name), request.after_sequence):
            view = await asyncio.to_thread(self._exports.view, job, progress)
            yield export_job_service_pb2.WatchExportJobResponse(export_job=_job(view), sequence=sequence)


class ArtifactServicer(artifact_service_pb2_grpc.ArtifactServiceServicer):
    """``visionyard.export.v1.ArtifactService``.

    Args:
        exports: The use cases.
    """

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    async def GetArtifact(
        self, request: artifact_service_pb2.GetArtifactRequest, _context: Context
    ) -> artifact_service_pb2.GetArtifactResponse:
        """Reads an artifact."""
        artifact = await asyncio.to_thread(self._exports.get_artifact, ArtifactName.parse(request.name))
        return artifact_service_pb2.GetArtifactResponse(artifact=mapping.artifact_to_proto(artifact))

    async def ListArtifacts(
        self, request: artifact_service_pb2.ListArtifactsRequest, _context: Context
    ) -> artifact_service_pb2.ListArtifactsResponse:
        """Reads a page of a model version's artifacts."""
        read = partial(self._exports.list_artifacts, VersionName.parse(request.parent, "models"))
        artifacts, token = await list_page(request, artifact_pb2.Artifact, read, mapping.artifact_to_proto)
        return artifact_service_pb2.ListArtifactsResponse(artifacts=artifacts, next_page_token=token)
